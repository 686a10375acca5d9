/* Brackets of several kinds, nested to a bounded depth: which kind closes is the answer. Hewitt 2020. */
#include "data/task.h"

#include <stdlib.h>

struct conf { struct task task; int length, kinds, depth; };
static const struct param params[] = {
    LENGTH(struct conf, 128),
    INT(struct conf, kinds, 8, 1, 1 << 18, "", "of brackets"),
    INT(struct conf, depth, 6, 1, 1 << 16, "", "deepest nesting"),
    TASK(struct conf),
    { 0 }
};

static void sample(struct pick self, const struct sampled *of, struct item *to)
{
    const struct conf *c = self.conf;
    struct draws d = sampled_draws(of, "probe.dyck");
    int depth = 0, *open = xmalloc((size_t)c->depth * sizeof *open);
    give(to, TOKEN_BOS);
    for (int i = 0; i < c->length; i++) {
        bool opens = depth == 0 || (depth < c->depth && draws_below(&d, 2) == 0);
        if (opens) {
            open[depth] = draws_below(&d, c->kinds);
            give(to, symbol(open[depth++]));
        } else ask(to, symbol(c->kinds + open[--depth]));
    }
    free(open);
}

static void traits(struct pick self, struct traits *t)
{
    const struct conf *c = self.conf;
    t->symbols = 2 * c->kinds;
    t->length = c->length;
}

const struct module task_dyck = {
    .slot = SLOT_TASK, .name = "dyck", .about = "brackets of several kinds, nested",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .sample = sample,
};
