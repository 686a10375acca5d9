/* Sliding window: position i looks at i - size + 1 .. i, itself included. */
#include "model/module.h"

struct conf { int size; };
static const struct param params[] = {
    INT(struct conf, size, 64, 1, 1 << 20, "token", "positions that are seen, the own one included"),
    { 0 }
};

static struct mask build(struct build *b, struct pick self)
{
    (void)b;
    return (struct mask){ .window = ((const struct conf *)self.conf)->size };
}

static void traits(struct pick self, struct traits *t) { t->window = ((const struct conf *)self.conf)->size; }

const struct module mask_window = {
    .slot = SLOT_MASK, .name = "window", .about = "the last positions",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .mask = build,
};
