/* The inputs of a model: their memory, their leaves, and the way from one to the other. */
#include "inputs.h"
#include "plan/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct inputs inputs_new(int64_t batch, int64_t seq)
{
    struct inputs in;
#define NEW(name, dtype, shape, graphs) in.name = xcalloc((size_t)shape_count(shape), sizeof *in.name);
    INPUTS(NEW)
    for (int64_t i = 0; i < batch * seq; i++) in.weight[i] = in.present[i] = 1;
    in.of = "";
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

struct node *inputs_node(struct graph *g, const char *of, enum input input, int64_t batch, int64_t seq)
{
#define NODE(name, dtype, shape, graphs) [INPUT_##name] = { #name, { shape, DTYPE_##dtype } },
    const struct { const char *name; struct decl decl; } all[] = { INPUTS(NODE) };
    return graph_input(g, arena_text(g->arena, "%s%s", of, all[input].name), all[input].decl.dtype,
                       all[input].decl.shape);
}

void inputs_cut(struct inputs in, int64_t batch, int64_t seq, int64_t longest)
{
    for (int64_t i = 0; i < batch * seq; i++) {
        int64_t at = i % seq, from = at - at % longest;
        bool last = (at + 1) % longest == 0 && at + 1 < seq;
        if (in.start[i] < from) in.start[i] = (int32_t)from;
        if (last) in.weight[i] = 0;
    }
}

/* ---- rings ---- */

struct ring_nodes inputs_ring(struct graph *g, const char *of, struct ring_view v, int64_t batch, int64_t seq)
{
    const char *path = arena_text(g->arena, "%sring.%lld.%lld.%lld.", of, (long long)v.entries, (long long)v.back,
                                  (long long)v.chunk);
    struct shape rows = SHAPE(batch, v.back + seq);
    return (struct ring_nodes){ graph_input(g, arena_text(g->arena, "%srows", path), DTYPE_I32, rows),
                                graph_input(g, arena_text(g->arena, "%spos", path), DTYPE_I32, SHAPE(1)),
                                graph_input(g, arena_text(g->arena, "%sstart", path), DTYPE_I32, SHAPE(batch, seq)) };
}

/* Value i of a leaf of inputs_ring, which has n for each sequence, when the chunk begins at pos. Where a document began
   before the entries and its mask has chunks, the first of these that begins among them is its start. */
static int32_t ring_value(const struct ring_view *v, const char *what, const struct inputs *in, int64_t i, int64_t n)
{
    int64_t pos = *in->pos, base = pos > v->back ? pos - v->back : 0;
    if (strcmp(what, "rows") == 0) return (int32_t)(i / n * v->entries + (base + i % n) % v->entries);
    if (strcmp(what, "pos") == 0) return (int32_t)(pos - base);
    int64_t later = in->start[i] - base;
    if (later >= 0 || !v->chunk) return (int32_t)(later > 0 ? later : 0);
    return (int32_t)((v->chunk - -later % v->chunk) % v->chunk);
}

static void stage_rings(struct state *s, const struct leaves *l, int micro, int micros, const struct inputs *in)
{
    size_t of = strlen(in->of);
    for (int i = 0; i < l->n; i++) {
        const struct leaf *leaf = l->leaf[i];
        long long entries, back, chunk;
        int end = 0;
        if (leaf->kind != LEAF_INPUT || strncmp(leaf->path, in->of, of) != 0) continue;
        if (sscanf(leaf->path + of, "ring.%lld.%lld.%lld.%n", &entries, &back, &chunk, &end) != 3 || !end) continue;
        struct ring_view v = { entries, back, chunk };
        int64_t n = shape_count(leaf->decl.shape), width = shape_last(leaf->decl.shape);
        int32_t *values = xmalloc((size_t)n * sizeof *values);
        for (int64_t k = 0; k < n; k++) values[k] = ring_value(&v, leaf->path + of + end, in, k, width);
        state_stage(s, leaf, micro, micros, values);
        free(values);
    }
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
    char path[64];
    int read = 1 << mode | (mode == MODE_TRAIN ? ASKED : mode == MODE_EVAL ? ASKED_EVAL : 0);
#define STAGE(name, dtype, shape, graphs) \
    snprintf(path, sizeof path, "%s" #name, in->of); \
    if (((graphs) & read) && in->name && (leaf = leaves_find(l, path))) state_stage(s, leaf, micro, micros, in->name);
    INPUTS(STAGE)
    if (mode == MODE_DECODE) stage_rings(s, l, micro, micros, in);
}

/* ---- parts of sequences ---- */

static const char ahead_of[] = "%sahead.%d.", whole_of[] = "%swhole.";

struct node *inputs_ahead(struct graph *g, const char *of, enum input input, int ahead, int64_t batch, int64_t length)
{
    return inputs_node(g, arena_text(g->arena, ahead_of, of, ahead), input, batch, length);
}

struct node *inputs_whole(struct graph *g, const char *of, enum input input, int64_t batch, int64_t seq)
{
    return inputs_node(g, arena_text(g->arena, whole_of, of), input, batch, seq);
}

/* Values of tokens [from, from + length) of each sequence, 0 beyond its end. */
static void cut_values(void *to, const void *values, size_t one, const struct sequence_part *p)
{
    int64_t there = p->seq - p->from < p->length ? p->seq - p->from : p->length;
    for (int64_t b = 0; b < p->batch; b++) {
        memcpy((char *)to + (size_t)(b * p->length) * one, (const char *)values + (size_t)(b * p->seq + p->from) * one,
               (size_t)(there < 0 ? 0 : there) * one);
    }
}

/* Where presence is not given all are there, which are told of what lies ahead alone. */
static void stage_cut(struct state *s, const struct leaves *l, enum mode mode, int micro, int micros,
                      const struct inputs *whole, struct sequence_part p, const char *of)
{
    struct inputs in = inputs_new(p.batch, p.length);
    for (int64_t i = 0; i < p.batch * p.length; i++)
        in.weight[i] = in.present[i] = p.from + i % p.length < p.seq;
    cut_values(in.ids, whole->ids, sizeof *in.ids, &p);
    cut_values(in.start, whole->start, sizeof *in.start, &p);
    cut_values(in.target, whole->target, sizeof *in.target, &p);
    cut_values(in.weight, whole->weight, sizeof *in.weight, &p);
    if (whole->present) cut_values(in.present, whole->present, sizeof *in.present, &p);
    memcpy(in.noise_key, whole->noise_key, (size_t)(2 * p.batch) * sizeof *in.noise_key);
    *in.place = *whole->place;
    *in.pos = (int32_t)p.from;
    in.of = of;
    struct inputs staged = in;
    if (!whole->present && of == whole->of) staged.present = NULL;
    inputs_stage(s, l, mode, micro, micros, &staged);
    inputs_free(in);
}

void inputs_stage_part(struct state *s, const struct leaves *l, enum mode mode, int micro, int micros,
                       const struct inputs *whole, struct sequence_part part)
{
    char of[64];
    stage_cut(s, l, mode, micro, micros, whole, part, whole->of);
    for (int k = 1; k <= part.ahead; k++) {
        struct sequence_part later = part;
        later.from += k;
        snprintf(of, sizeof of, ahead_of, whole->of, k);
        stage_cut(s, l, mode, micro, micros, whole, later, of);
    }
    snprintf(of, sizeof of, whole_of, whole->of);
    part.from = 0;
    part.length = part.seq + part.ahead;
    stage_cut(s, l, mode, micro, micros, whole, part, of);
}
