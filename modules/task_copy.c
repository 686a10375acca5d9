/* Copying of random symbols, as many as are drawn. Jelassi 2024. */
#include "data/task.h"

#include <stdlib.h>

struct conf { struct task task; int length, least, most, symbols; };
static const struct param params[] = {
    LENGTH(struct conf, 64),
    INT(struct conf, least, 1, 1, 1 << 18, "token", "fewest that are copied"),
    INT(struct conf, most, 31, 1, 1 << 18, "token", "most that are copied"),
    INT(struct conf, symbols, 26, 1, 1 << 19, "", "different ones"),
    TASK(struct conf),
    { 0 }
};

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    const struct conf *c = self.conf;
    (void)model;
    if (c->least > c->most) module_problem(problems, path, "least", "%d: at most `most`, %d", c->least, c->most);
    if (c->length < 2 * c->most + 2)
        module_problem(problems, path, "length", "%d: %d tokens and their copy need at least %d", c->length, c->most,
                       2 * c->most + 2);
}

static void sample(struct pick self, const struct sampled *of, struct item *to)
{
    const struct conf *c = self.conf;
    struct draws d = sampled_draws(of, "probe.copy");
    int n = draws_from(&d, c->least, c->most), *copied = xmalloc((size_t)n * sizeof *copied);
    for (int i = 0; i < n; i++) copied[i] = draws_below(&d, c->symbols);
    give(to, TOKEN_BOS);
    for (int i = 0; i < n; i++) give(to, symbol(copied[i]));
    give(to, TOKEN_ANS);
    for (int i = 0; i < n; i++) ask(to, symbol(copied[i]));
    ask(to, TOKEN_EOS);
    free(copied);
}

static void traits(struct pick self, struct traits *t)
{
    const struct conf *c = self.conf;
    t->symbols = c->symbols;
    t->length = c->length;
}

const struct module task_copy = {
    .slot = SLOT_TASK, .name = "copy", .about = "copying of as many symbols as there are",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .sample = sample,
};
