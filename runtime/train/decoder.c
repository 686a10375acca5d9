/* Decoding: the model's builder in decode mode over a copy of the trained weights. */
#include "decoder.h"
#include "trained.h"
#include "model/inputs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct decoder {
    struct arena *arena;
    struct leaves *leaves; struct graph *graph; struct plan *plan; struct state *state;
    struct node *logits;
    struct inputs in;
    struct model_size size;
    int64_t tokens, vocab, end;                             /* end: positions that were fed */
};

static bool keeps_states(const struct decoder *d)
{
    for (int i = 0; i < d->leaves->n; i++) if (d->leaves->leaf[i]->fixed) return true;
    return false;
}

int decoder_new(struct decoder **out, const struct model_conf *conf, struct plan_how how, const struct leaves *from,
                struct state *trained, struct model_size size, int threads, struct err *e)
{
    struct decoder *d = xcalloc(1, sizeof *d);
    d->arena = arena_new();
    d->leaves = leaves_new();
    d->graph = graph_new(d->leaves);
    d->in = inputs_new(size.batch, size.seq);
    d->tokens = size.batch * size.seq;
    d->size = size;
    d->vocab = conf->vocab;
    d->logits = model_build(d->graph, d->arena, conf, NULL, MODE_DECODE, size);
    if (plan_new(&d->plan, d->graph, how, e)) { decoder_free(d); return -1; }
    d->state = state_new(d->leaves, how.backend, threads);
    plan_bind(d->plan, d->state, NULL);
    if (trained_copy(d->leaves, d->state, from, trained, e)) { decoder_free(d); return -1; }
    *out = d;
    return 0;
}

void decoder_free(struct decoder *d)
{
    if (!d) return;
    inputs_free(d->in);
    plan_free(d->plan);
    state_free(d->state);
    graph_free(d->graph);
    leaves_free(d->leaves);
    arena_free(d->arena);
    free(d);
}

void decoder_feed(struct decoder *d, int64_t pos, const int32_t *ids, real *logits)
{
    double *wide = xmalloc((size_t)(d->tokens * d->vocab) * sizeof *wide);
    INVARIANT(pos + d->size.rewind >= d->end || !keeps_states(d),
              "rolled back %lld positions, states are kept for %lld", (long long)(d->end - pos),
              (long long)d->size.rewind);
    d->end = pos + d->size.seq;
    memcpy(d->in.ids, ids, (size_t)d->tokens * sizeof *ids);
    *d->in.pos = (int32_t)pos;
    inputs_stage(d->state, d->leaves, MODE_DECODE, 0, 1, &d->in);
    plan_forward(d->plan, 0);
    plan_read(d->plan, d->logits, wide);
    for (int64_t i = 0; i < d->tokens * d->vocab; i++) logits[i] = (real)wide[i];
    free(wide);
}

int decoder_choose(const real *logits, int64_t vocab, double temperature, uint64_t seed, int64_t position)
{
    int64_t best = 0;
    double sum = 0;
    for (int64_t v = 1; v < vocab; v++) if (logits[v] > logits[best]) best = v;
    if (temperature == 0) return (int)best;
    struct key key = { seed, PURPOSE_SAMPLE, 0, 0 };
    for (int64_t v = 0; v < vocab; v++) sum += exp(((double)logits[v] - (double)logits[best]) / temperature);
    double left = key_uniform(key, (uint64_t)position) * sum;
    for (int64_t v = 0; v < vocab; v++) {
        left -= exp(((double)logits[v] - (double)logits[best]) / temperature);
        if (left < 0) return (int)v;
    }
    return (int)best;
}
