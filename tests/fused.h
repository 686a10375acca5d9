/* A model whose calls a backend fuses, pair by pair: its bits are those of calls that run one after the other. */
#ifndef SLUICE_FUSED_H
#define SLUICE_FUSED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>
#include "bind.h"
#include "session_hash.h"
#include "graph/ops.h"

enum { STEPS = 2, SEQ = 16, VOCAB = 61 };

static json_t *config_of(const char *backend, const char *precision)
{
    static const struct { const char *path; int value; } sizes[] = { { "layers", 2 }, { "ffn.experts", 4 },
                                                                     { "ffn.d_ff", 24 }, { "seq", SEQ },
                                                                     { "vocab", VOCAB }, { "attention.head_dim", 64 } };
    struct err e;
    json_t *model;
    if (script_preset("welm-nano", &model, &e)) fail_msg("%s", e.text);
    for (int i = 0; i < COUNT(sizes); i++) {
        json_t *value = json_integer(sizes[i].value);
        if (config_set(&model_schema, model, sizes[i].path, value, &e)) fail_msg("%s: %s", sizes[i].path, e.text);
        json_decref(value);
    }
    static const char *const words[][2] = { { "attention.qk_norm", "qk" }, { "ffn.router.gate_on", "hidden" } };
    for (int i = 0; i < COUNT(words); i++) {
        json_t *value = json_string(words[i][1]);
        if (config_set(&model_schema, model, words[i][0], value, &e)) fail_msg("%s: %s", words[i][0], e.text);
        json_decref(value);
    }
    return json_pack("{s:o, s:{s:i, s:i, s:s, s:s, s:s}}", "model", model, "train", "steps", STEPS, "batch", 2,
                     "backend", backend, "precision", precision, "average", "ema");
}

/* The same model over another backend. */
static void move(struct session *s, const struct backend *b)
{
    struct plan_how how = { b, (enum precision)s->train.precision, (enum recompute)s->train.recompute };
    struct err e;
    plan_free(s->plan);
    plan_free(s->eval_plan);
    state_free(s->state);
    s->eval_plan = NULL;
    if (plan_new(&s->plan, s->graph, how, &e)) fail_msg("%s", e.text);
    s->state = state_new(s->leaves, b, 1);
    plan_bind(s->plan, s->state, NULL);
}

static struct hash trained(struct session *s)
{
    struct inputs b = inputs_new(s->batch, SEQ);
    state_fill(s->state, 5);
    for (int step = 0; step < STEPS; step++) {
        for (int64_t i = 0; i < s->batch * SEQ; i++)
            b.target[i] = b.ids[i] = (int32_t)key_below((struct key){ 8, PURPOSE_TEST, (uint64_t)step, 0 }, (uint64_t)i,
                                                        VOCAB);
        plan_begin(s->plan, step, STEPS, 1);
        session_stage(s, 0, &b);
        plan_step(s->plan, NULL);
    }
    inputs_free(b);
    return session_hash(s);
}

/* What two calls compute in one, and how often at least in the model here. */
struct fused_pair { int first, second, least; };

/* The backend as it is, but for what it fuses: one pair at a time, by its own kernels or by those that a test
   brings. */
static const struct fused_pair *allowed;
static kernel *(*fuse_both)(int first, const struct args *a, int second, const struct args *b);
static kernel *only(int first, const struct args *a, int second, const struct args *b)
{
    bool may = allowed && first == allowed->first && second == allowed->second;
    return may ? fuse_both(first, a, second, b) : NULL;
}

/* fuse: in place of the backend's own; NULL: that */
static void fusing_changes_nothing(const char *backend, const struct fused_pair *pair, int n_pairs,
                                   kernel *(*fuse)(int, const struct args *, int, const struct args *))
{
    static const char *const precisions[] = { "fp32", "bf16" };
    static struct backend one_pair;
    for (int i = 0; i < COUNT(precisions); i++) {
        struct session *s;
        struct err e;
        struct hash bits = { 0 };
        json_t *config = config_of(backend, precisions[i]);
        if (session_new(&s, config, 1, &e)) fail_msg("%s", e.text);
        json_decref(config);
        fuse_both = fuse ? fuse : s->backend->fuse;
        one_pair = *s->backend;
        one_pair.cuts_rows = false;                         /* calls of a chain are not fused */
        one_pair.fuse = only;
        for (int now = -1; now < n_pairs; now++) {
            allowed = now < 0 ? NULL : &pair[now];
            move(s, &one_pair);
            for (int k = 0; k < n_pairs; k++) {
                int n = plan_fused(s->plan, pair[k].first, pair[k].second);
                if (k == now ? n < pair[k].least : n > 0)
                    fail_msg("%s: pair %d is fused %d times where %d may be", precisions[i], k, n, now);
            }
            struct hash left = trained(s);
            if (now >= 0 && !hash_equal(bits, left))
                fail_msg("%s: pair %d fused leaves other bits", precisions[i], now);
            bits = left;
        }
        session_free(s);
    }
}

#endif
