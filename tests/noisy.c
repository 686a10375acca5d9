/* A registry in the place of the program's, with one module more: a norm whose values are noisy in training,
   y (1 + std noise). */
#include <string.h>
#include "model/module.h"

struct conf { double std; int kind; };
static const struct param params[] = {
    REAL(struct conf, std, 0.3, 0, 10, "", "how far noise goes"),
    CHOICE(struct conf, kind, NOISE_NORMAL, "normal uniform gumbel", "how it is distributed"),
    { 0 }
};

static struct node *build(struct build *b, struct pick self, const char *name, struct node *x, double first)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    build_enter(b, "%s", name);
    struct node *gain = build_weight(b, "gain", ROLE_GAIN, SHAPE(b->width),
                                     (struct init){ .kind = INIT_CONSTANT, .value = first }),
                *y = rmsnorm(g, x, gain, 1e-6, false), *drawn = build_noise(b, "noise", y, (enum noise_kind)c->kind);
    build_leave(b);
    return drawn ? add(g, y, scale(g, mul(g, y, drawn), c->std)) : y;
}

static const struct module norm_noisy = {
    .slot = SLOT_NORM, .name = "noisy", .about = "root mean square, with noise in training",
    .conf_size = sizeof(struct conf), .params = params, .norm = build,
};

#define MODULE(slot, name) extern const struct module slot##_##name;
#include "list.h"
#undef MODULE
#define MODULE(slot, name) &slot##_##name,
const struct module *const module_all[] = {
#include "list.h"
    &norm_noisy, NULL
};

const struct module *module_find(enum slot slot, const char *name)
{
    for (const struct module *const *m = module_all; *m; m++)
        if ((*m)->slot == slot && strcmp((*m)->name, name) == 0) return *m;
    return NULL;
}
