/* The inputs of a model: their memory, their leaves, and the way from one to the other. */
#include "inputs.h"
#include "plan/plan.h"

#include <stdlib.h>
#include <string.h>

struct inputs inputs_new(int64_t batch, int64_t seq)
{
    struct inputs in;
#define NEW(name, dtype, shape, graphs) in.name = xcalloc((size_t)shape_count(shape), sizeof *in.name);
    INPUTS(NEW)
    for (int64_t i = 0; i < batch * seq; i++) in.weight[i] = in.present[i] = 1;
    return in;
}

void inputs_free(struct inputs in)
{
#define FREE(name, dtype, shape, graphs) free(in.name);
    INPUTS(FREE)
}

void inputs_noise(struct inputs in, uint64_t seed, int64_t first, int64_t batch)
{
    for (int64_t b = 0; b < batch; b++) {
        uint64_t key = key_mixed((struct key){ seed, PURPOSE_NOISE, (uint64_t)(first + b), 0 });
        in.noise_key[2 * b] = (int32_t)(uint32_t)key;
        in.noise_key[2 * b + 1] = (int32_t)(uint32_t)(key >> 32);
    }
}

struct node *inputs_node(struct graph *g, enum input input, int64_t batch, int64_t seq)
{
#define NODE(name, dtype, shape, graphs) [INPUT_##name] = { #name, { shape, DTYPE_##dtype } },
    const struct { const char *name; struct decl decl; } of[] = { INPUTS(NODE) };
    return graph_input(g, of[input].name, of[input].decl.dtype, of[input].decl.shape);
}

static const char choices[] = "router_choices.";

struct node *inputs_choices(struct graph *g, const char *router, int layer, int64_t tokens, int64_t k)
{
    return graph_input(g, arena_text(g->arena, "%s%s%d", router, choices, layer), DTYPE_I32, SHAPE(tokens, k));
}

int inputs_choices_layer(const struct leaf *l)
{
    const char *at = l->kind == LEAF_INPUT ? strstr(l->path, choices) : NULL;
    return at ? atoi(at + sizeof choices - 1) : -1;
}

void inputs_stage(struct state *s, const struct leaves *l, enum mode mode, int micro, int micros,
                  const struct inputs *in)
{
    const struct leaf *leaf;
    int read = 1 << mode | (mode == MODE_TRAIN ? ASKED : mode == MODE_EVAL ? ASKED_EVAL : 0);
#define STAGE(name, dtype, shape, graphs) \
    if (((graphs) & read) && (leaf = leaves_find(l, #name))) state_stage(s, leaf, micro, micros, in->name);
    INPUTS(STAGE)
}
