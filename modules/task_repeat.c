/* Random symbols, and the same once more: of the copy all but the first can be known. Olsson 2022. */
#include "data/task.h"

#include <stdlib.h>

struct conf { struct task task; int length, symbols; };
static const struct param params[] = {
    LENGTH(struct conf, 64),
    INT(struct conf, symbols, 64, 1, 1 << 19, "", "different ones"),
    TASK(struct conf),
    { 0 }
};

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    int length = ((const struct conf *)self.conf)->length;
    (void)model;
    if (length % 2 || length < 4)
        module_problem(problems, path, "length", "%d: must be even, and at least 4", length);
}

static void sample(struct pick self, const struct sampled *of, struct item *to)
{
    const struct conf *c = self.conf;
    struct draws d = sampled_draws(of, "probe.repeat");
    int n = c->length / 2, *said = xmalloc((size_t)n * sizeof *said);
    for (int i = 0; i < n; i++) said[i] = draws_below(&d, c->symbols);
    give(to, TOKEN_BOS);
    for (int i = 0; i < 2 * n; i++) item_put(to, symbol(said[i % n]), i > n);
    free(said);
}

static void traits(struct pick self, struct traits *t)
{
    const struct conf *c = self.conf;
    t->symbols = c->symbols;
    t->length = c->length;
}

const struct module task_repeat = {
    .slot = SLOT_TASK, .name = "repeat", .about = "random symbols, said twice",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .sample = sample,
};
