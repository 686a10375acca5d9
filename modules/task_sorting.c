/* Sorting: random symbols, and the same in ascending order. */
#include "data/task.h"

#include <stdlib.h>

struct conf { struct task task; int length, least, most, symbols; };
static const struct param params[] = {
    LENGTH(struct conf, 32),
    INT(struct conf, least, 2, 1, 1 << 18, "token", "fewest that are sorted"),
    INT(struct conf, most, 14, 1, 1 << 18, "token", "most that are sorted"),
    INT(struct conf, symbols, 64, 1, 1 << 19, "", "different ones"),
    TASK(struct conf),
    { 0 }
};

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    const struct conf *c = self.conf;
    (void)model;
    if (c->least > c->most) module_problem(problems, path, "least", "%d: at most `most`, %d", c->least, c->most);
    if (c->length < 2 * c->most + 2)
        module_problem(problems, path, "length", "%d: %d tokens and their order need at least %d", c->length, c->most,
                       2 * c->most + 2);
}

static int by_size(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

static void sample(struct pick self, const struct sampled *of, struct item *to)
{
    const struct conf *c = self.conf;
    struct draws d = sampled_draws(of, "probe.sorting");
    int n = draws_from(&d, c->least, c->most), *sorted = xmalloc((size_t)n * sizeof *sorted);
    give(to, TOKEN_BOS);
    for (int i = 0; i < n; i++) {
        sorted[i] = draws_below(&d, c->symbols);
        give(to, symbol(sorted[i]));
    }
    qsort(sorted, (size_t)n, sizeof *sorted, by_size);
    give(to, TOKEN_ANS);
    for (int i = 0; i < n; i++) ask(to, symbol(sorted[i]));
    ask(to, TOKEN_EOS);
    free(sorted);
}

static void traits(struct pick self, struct traits *t)
{
    const struct conf *c = self.conf;
    t->symbols = c->symbols;
    t->length = c->length;
}

const struct module task_sorting = {
    .slot = SLOT_TASK, .name = "sorting", .about = "random symbols in ascending order",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .sample = sample,
};
