/* A run of layers occurs several times, one run behind the other: A B C becomes A B B B C. WeLM grew from 80 to 130
   billion parameters so (its middle third, three times), stacking (Gong 2019) is a cycle of all layers. identity: as of
   map `layers`. */
#include "model/module.h"

struct conf { int from, to, times, identity; };
static const struct param params[] = {
    INT(struct conf, from, 0, 0, 4095, "", "first layer that is repeated, from 0"),
    INT(struct conf, to, 0, 0, 4095, "", "last one"),
    INT(struct conf, times, 2, 1, 64, "", "how often they occur, one copy being the first"),
    BOOL(struct conf, identity, false, "what repeats a layer adds nothing to the stream at first"),
    { 0 }
};

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    (void)model;
    const struct conf *c = self.conf;
    if (c->to < c->from) module_problem(problems, path, "to", "%d: is before from = %d", c->to, c->from);
}

static struct ints layers(struct arena *a, struct pick self, int n)
{
    const struct conf *c = self.conf;
    int length = c->to - c->from + 1, more = (c->times - 1) * length, end = c->from + c->times * length;
    struct ints of = { n + more, arena_alloc(a, (size_t)(n + more) * sizeof(int)) };
    for (int i = 0; i < of.n; i++)
        of.value[i] = i < c->from ? i : i < end ? c->from + (i - c->from) % length : i - more;
    return of;
}

static struct made map(struct mapping *m, struct pick self, const struct leaf *l)
{
    return mapping_layer(m, l, ((const struct conf *)self.conf)->identity);
}

const struct module map_cycle = {
    .slot = SLOT_MAP, .name = "cycle", .about = "a run of layers occurs several times (WeLM, stacking)",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .map = map, .layers = layers,
};
