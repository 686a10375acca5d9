/* Each tensor from that of the same name and shape. */
#include "model/module.h"

static struct made map(struct mapping *m, struct pick self, const struct leaf *l)
{
    (void)self;
    if (m->model->layers != m->donor->layers)
        return mapping_fail(m, "%s has %d layers and this model %d: init.map = \"layers\" or \"cycle\" says which "
                               "become which", m->start->run, m->donor->layers, m->model->layers);
    return mapping_as(m, l, l->path, NULL);
}

const struct module map_same = {
    .slot = SLOT_MAP, .name = "same", .about = "each tensor from that of the same name", .map = map,
};
