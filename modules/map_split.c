/* Experts of the other model cut into `parts` narrower ones, of which `parts` times as many are chosen: m N experts of
   width F / m (DeepSeekMoE, Dai 2024). The parts of one have its row of the router, so that they are chosen together,
   and the function stays, for the gates of parts add up: where scores compete or are normalised each part gets 1 / m of
   the gate, which `down` makes up for. */
#include "model/module.h"

struct conf { int parts; };
static const struct param params[] = {
    INT(struct conf, parts, 2, 2, 64, "", "experts that each becomes"),
    { 0 }
};

/* Of expert e its place among the parts of one, and whose part it is. */
static struct made cut(struct mapping *m, const struct leaf *l, const struct donated *from, int parts, double by)
{
    struct stack to = stack_of(l->values), of = stack_of(from->shape);
    int32_t *matrix = mapping_places(m, to.matrices), *row = NULL, *column = NULL;
    for (int64_t e = 0; e < to.matrices; e++) matrix[e] = (int32_t)(e / parts);
    if (to.rows != of.rows) {
        row = mapping_places(m, to.matrices * to.rows);
        for (int64_t i = 0; i < to.matrices * to.rows; i++)
            row[i] = (int32_t)(i / to.rows % parts * to.rows + i % to.rows);
    }
    if (to.columns != of.columns) {
        column = mapping_places(m, to.matrices * to.columns);
        for (int64_t i = 0; i < to.matrices * to.columns; i++)
            column[i] = (int32_t)(i / to.columns % parts * to.columns + i % to.columns);
    }
    struct donation part = { .from = from, .matrix = matrix, .row = row, .column = column, .by = by };
    const char *how = arena_text(m->arena, "in %d parts", parts);
    return mapping_of(m, by == 1 ? how : arena_text(m->arena, "%s, times %g", how, by), 1, &part);
}

static struct traits router_of(const struct mapping *m, int layer)
{
    return module_traits(module_part(m->model->ffn.pick[layer], SLOT_ROUTER));
}

/* What goes by experts one after the other: rows of the router, numbers of each. What is added to scores is as much
   smaller as they are where they compete. */
static struct made repeated(struct mapping *m, const struct leaf *l, const struct donated *from, int layer, int parts)
{
    int64_t n = l->values.dim[0];
    int32_t *place = mapping_places(m, n);
    for (int64_t e = 0; e < n; e++) place[e] = (int32_t)(e / parts);
    bool smaller = l->kind == LEAF_BUFFER && router_of(m, layer).competing;
    struct donation part = { .from = from, .by = smaller ? 1.0 / parts : 1 };
    if (l->values.rank == 1) part.column = place;
    else part.row = place;
    return mapping_of(m, arena_text(m->arena, "each %d times", parts), 1, &part);
}

static struct made map(struct mapping *m, struct pick self, const struct leaf *l)
{
    const struct conf *c = self.conf;
    const struct donated *from = donor_find(m->donor, l->path);
    const char *rest;
    int layer = path_layer(l->path, &rest);
    if (!from || layer < 0 || shape_equal(from->shape, l->values)) return mapping_as(m, l, l->path, NULL);
    struct stack to = stack_of(l->values), of = stack_of(from->shape);
    bool divided = l->role == ROLE_FFN_DOWN && router_of(m, layer).gate_over != GATE_ALONE;
    if (l->values.rank == 3 && to.matrices == of.matrices * c->parts &&
        to.rows * to.columns * c->parts == of.rows * of.columns)
        return cut(m, l, from, c->parts, divided ? c->parts : 1);
    if (l->values.rank < 3 && l->values.dim[0] == from->shape.dim[0] * c->parts)
        return repeated(m, l, from, layer, c->parts);
    return mapping_as(m, l, l->path, NULL);
}

const struct module map_split = {
    .slot = SLOT_MAP, .name = "split", .about = "experts are cut into several narrower ones",
    .conf_size = sizeof(struct conf), .params = params, .map = map,
};
