/* Decoding: the model's builder in decode mode over a copy of the trained weights. Its graphs, of a chunk, of a prompt
   and of each MTP block, share weights and caches. */
#include "decoder.h"
#include "model/inputs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STEP, PROMPT, DRAFT };                               /* DRAFT + k - 1: of block k */
struct part { struct graph *graph; struct plan *plan; struct node *logits, **end; struct inputs in; int64_t seq; };
struct decoder {
    struct arena *arena;
    struct leaves *leaves; struct state *state;
    struct part *part; int parts;
    struct model_size size;
    int layers, blocks;                                     /* blocks: MTP blocks that draft */
    int64_t vocab, *reached, *start, prompt;                /* reached: for each part, positions that were fed */
};

static bool keeps_rings(const struct decoder *d)
{
    for (int i = 0; i < d->leaves->n; i++) {
        const struct leaf *l = d->leaves->leaf[i];
        if (l->fixed || (l->window && l->decl.shape.dim[1] < d->size.context)) return true;
    }
    return false;
}

/* Graph and plan. */
static int part_new(struct decoder *d, int number, const struct model_conf *conf, struct plan_how how, struct err *e)
{
    struct part *p = &d->part[number];
    struct model_size size = d->size;
    size.part = number >= DRAFT ? DECODE_DRAFT : number == PROMPT ? DECODE_PROMPT : DECODE_STEP;
    size.depth = number >= DRAFT ? number - DRAFT + 1 : 0;
    p->seq = size.seq = number == PROMPT ? d->size.most : d->size.seq;
    if (size.most < d->size.seq) size.most = d->size.seq;
    size.of = number >= DRAFT ? arena_text(d->arena, "draft.%d.", size.depth) : number == PROMPT ? "prompt." : "";
    size.ends = p->end = arena_alloc(d->arena, (size_t)d->layers * sizeof *p->end);
    p->graph = graph_new(d->leaves);
    p->in = inputs_new(size.batch, size.seq);
    p->in.of = size.of;
    p->logits = model_build(p->graph, d->arena, conf, NULL, MODE_DECODE, size);
    return plan_new(&p->plan, p->graph, how, e);
}

static bool is_there(const struct decoder *d, int number) { return number != PROMPT || d->size.most > 0; }

/* One of them runs at a time: they share the arena of the largest. */
static void bind_all(struct decoder *d)
{
    int largest = STEP;
    for (int i = 0; i < d->parts; i++)
        if (is_there(d, i) && plan_report(d->part[i].plan)->arena > plan_report(d->part[largest].plan)->arena)
            largest = i;
    plan_bind(d->part[largest].plan, d->state, NULL);
    for (int i = 0; i < d->parts; i++)
        if (is_there(d, i) && i != largest) plan_bind(d->part[i].plan, d->state, d->part[largest].plan);
    for (int i = 0; i < d->parts; i++) if (is_there(d, i)) plan_begin(d->part[i].plan, 0, 1, 1);        /* constants */
}

int decoder_new(struct decoder **out, const struct model_conf *conf, struct plan_how how, const struct leaves *from,
                struct state *trained, struct model_size size, int threads, struct err *e)
{
    struct decoder *d = xcalloc(1, sizeof *d);
    d->arena = arena_new();
    d->leaves = leaves_new();
    d->size = size;
    d->vocab = conf->vocab;
    d->layers = model_passes(conf);
    d->blocks = size.drafts ? model_blocks(conf) - d->layers : 0;
    d->parts = DRAFT + d->blocks;
    d->part = xcalloc((size_t)d->parts, sizeof *d->part);
    d->reached = xcalloc((size_t)d->parts, sizeof *d->reached);
    d->start = xcalloc((size_t)size.batch, sizeof *d->start);
    for (int i = 0; i < d->parts; i++)
        if (is_there(d, i) && part_new(d, i, conf, how, e)) { decoder_free(d); return -1; }
    d->state = state_new(d->leaves, how.backend, threads);
    bind_all(d);
    if (state_copy(d->leaves, d->state, from, trained, e)) { decoder_free(d); return -1; }
    *out = d;
    return 0;
}

void decoder_free(struct decoder *d)
{
    if (!d) return;
    for (int i = 0; i < d->parts; i++) {
        struct part *p = &d->part[i];
        if (!p->graph) continue;
        inputs_free(p->in);
        plan_free(p->plan);
        graph_free(p->graph);
    }
    state_free(d->state);
    leaves_free(d->leaves);
    arena_free(d->arena);
    free(d->part);
    free(d->reached);
    free(d->start);
    free(d);
}

void decoder_begin(struct decoder *d, const int64_t *start)
{
    for (int i = 0; i < d->parts; i++) d->reached[i] = 0;
    d->prompt = 0;
    for (int64_t b = 0; b < d->size.batch; b++) d->start[b] = start ? start[b] : 0;
}

const struct model_size *decoder_size(const struct decoder *d) { return &d->size; }
int64_t decoder_vocab(const struct decoder *d) { return d->vocab; }

/* The tokens that blocks look ahead to, [batch,seq] of lines of so many, where the part has that input. */
static void stage_ahead(struct decoder *d, int number, int depth, int64_t pos, const int32_t *ids, int64_t line)
{
    struct part *p = &d->part[number];
    char path[64];
    int32_t at = (int32_t)(pos + depth), *own = xmalloc((size_t)(d->size.batch * p->seq) * sizeof *own);
    for (int64_t b = 0; b < d->size.batch; b++)
        memcpy(own + b * p->seq, ids + b * line, (size_t)p->seq * sizeof *own);
    snprintf(path, sizeof path, "%sahead.%d.ids", p->in.of, depth);
    const struct leaf *leaf = leaves_find(d->leaves, path);
    if (leaf) state_stage(d->state, leaf, 0, 1, own);
    snprintf(path, sizeof path, "%sahead.%d.pos", p->in.of, depth);
    leaf = leaves_find(d->leaves, path);
    if (leaf) state_stage(d->state, leaf, 0, 1, &at);
    free(own);
}

/* ids: lines of so many. */
static void run(struct decoder *d, int number, int64_t pos, const int32_t *ids, int64_t line, real *logits)
{
    struct part *p = &d->part[number];
    int64_t rows = d->size.batch * p->seq, n = rows * d->vocab;
    for (int64_t b = 0; b < d->size.batch; b++)
        memcpy(p->in.ids + b * p->seq, ids + b * line, (size_t)p->seq * sizeof *ids);
    for (int64_t i = 0; i < rows; i++) {
        int64_t start = d->start[i / p->seq];
        p->in.start[i] = pos + i % p->seq < start ? 0 : (int32_t)start;
    }
    *p->in.pos = (int32_t)pos;
    inputs_stage(d->state, d->leaves, MODE_DECODE, 0, 1, &p->in);
    plan_forward(p->plan, 0);
    if (!logits) return;
    double *wide = xmalloc((size_t)n * sizeof *wide);
    plan_read(p->plan, p->logits, wide);
    for (int64_t i = 0; i < n; i++) logits[i] = (real)wide[i];
    free(wide);
}

/* Positions of the graph [0,reached) become [0,pos + seq). */
static void reach(struct decoder *d, int number, int64_t pos, int64_t seq)
{
    int64_t *end = &d->reached[number];
    INVARIANT(pos <= *end, "positions %lld to %lld were never fed", (long long)*end, (long long)pos);
    INVARIANT(pos + d->size.rewind >= *end || !keeps_rings(d), "rolled back %lld positions, states are kept for %lld",
              (long long)(*end - pos), (long long)d->size.rewind);
    *end = pos + seq;
}

void decoder_feed(struct decoder *d, int64_t pos, const int32_t *ids, real *logits)
{
    reach(d, STEP, pos, d->size.seq);
    run(d, STEP, pos, ids, d->size.seq, logits);
}

int64_t decoder_ahead(const struct decoder *d) { return d->blocks; }
int64_t decoder_prompt(const struct decoder *d) { return d->prompt; }

void decoder_read(struct decoder *d, int64_t pos, const int32_t *ids)
{
    INVARIANT(d->size.most > 0, "there is no graph for prompts");
    int64_t line = d->size.most + d->blocks;
    reach(d, STEP, pos, d->size.most);
    d->prompt = pos + d->size.most;
    for (int k = 1; k <= d->blocks; k++) {
        reach(d, DRAFT + k - 1, pos, d->size.most);
        stage_ahead(d, PROMPT, k, pos, ids + k, line);
    }
    run(d, PROMPT, pos, ids, line, NULL);
}

struct prompt_saving decoder_saving(const struct decoder *d)
{
    struct prompt_saving s = { 0 };
    const struct part *step = &d->part[STEP], *prompt = &d->part[PROMPT];
    for (int i = 0; i < d->layers; i++) s.layers += !plan_computes(prompt->plan, prompt->end[i]);
    s.flops = 1 - plan_report(prompt->plan)->forward_flops / (double)prompt->seq /
                      (plan_report(step->plan)->forward_flops / (double)step->seq);
    return s;
}

/* Whether a block leaves something behind for others. */
static bool hands_on(const struct decoder *d, int depth)
{
    char path[32];
    int n = snprintf(path, sizeof path, "handed.%d.", depth);
    for (int i = 0; i < d->leaves->n; i++) if (strncmp(d->leaves->leaf[i]->path, path, (size_t)n) == 0) return true;
    return false;
}

void decoder_draft(struct decoder *d, int depth, int64_t pos, const int32_t *ids, const int32_t *ahead, real *logits)
{
    int number = DRAFT + depth - 1;
    INVARIANT(depth >= 1 && depth <= d->blocks, "no block drafts at depth %d", depth);
    int64_t there = d->reached[depth > 1 && hands_on(d, depth - 1) ? number - 1 : STEP];
    INVARIANT(pos + d->size.seq <= there, "depth %d reads position %lld, there are %lld", depth,
              (long long)(pos + d->size.seq - 1), (long long)there);
    reach(d, number, pos, d->size.seq);
    stage_ahead(d, number, depth, pos, ahead, d->size.seq);
    run(d, number, pos, ids, d->size.seq, logits);
}
