/* Addition of two numbers of equally many digits, leading zeros among them. Reversed, digits begin with the least: each
   of the sum then needs those before it alone. Lee 2023. */
#include "data/task.h"

enum { PLUS = 10, MOST = 512 };
struct conf { struct task task; int length, least, most, reverse; };
static const struct param params[] = {
    LENGTH(struct conf, 32),
    INT(struct conf, least, 1, 1, MOST, "digit", "fewest of a number"),
    INT(struct conf, most, 6, 1, MOST, "digit", "most of a number"),
    BOOL(struct conf, reverse, true, "whether the least digit comes first"),
    TASK(struct conf),
    { 0 }
};

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    const struct conf *c = self.conf;
    (void)model;
    if (c->least > c->most) module_problem(problems, path, "least", "%d: at most `most`, %d", c->least, c->most);
    if (c->length < 3 * c->most + 4)
        module_problem(problems, path, "length", "%d: numbers of %d digits need at least %d", c->length, c->most,
                       3 * c->most + 4);
}

/* Digits of which the first is the most. */
static void put(struct item *to, const int *digit, int n, bool reverse, bool counts)
{
    for (int i = 0; i < n; i++) item_put(to, symbol(digit[reverse ? n - 1 - i : i]), counts);
}

static void sample(struct pick self, const struct sampled *of, struct item *to)
{
    const struct conf *c = self.conf;
    struct draws d = sampled_draws(of, "probe.addition");
    int a[MOST] = { 0 }, b[MOST] = { 0 }, sum[MOST + 1], n = draws_from(&d, c->least, c->most), carry = 0;
    for (int i = 0; i < n; i++) a[i] = draws_below(&d, 10);
    for (int i = 0; i < n; i++) b[i] = draws_below(&d, 10);
    for (int i = n - 1; i >= 0; i--) {
        carry += a[i] + b[i];
        sum[i + 1] = carry % 10;
        carry /= 10;
    }
    sum[0] = carry;
    give(to, TOKEN_BOS);
    put(to, a, n, c->reverse, false);
    give(to, symbol(PLUS));
    put(to, b, n, c->reverse, false);
    give(to, TOKEN_ANS);
    put(to, sum, n + 1, c->reverse, true);
    ask(to, TOKEN_EOS);
}

static void traits(struct pick self, struct traits *t)
{
    t->symbols = PLUS + 1;
    t->length = ((const struct conf *)self.conf)->length;
}

const struct module task_addition = {
    .slot = SLOT_TASK, .name = "addition", .about = "addition of numbers, digit by digit",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .sample = sample,
};
