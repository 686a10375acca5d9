/* Sessions of a noisy model, and their steps: the batch of a step is the same however it is cut. */
#ifndef SLUICE_NOISY_SESSION_H
#define SLUICE_NOISY_SESSION_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>
#include <cmocka.h>
#include "session_hash.h"

#define TEXT(...) #__VA_ARGS__
enum { BATCH = 4 };

/* MTP's blocks have shorter sequences. */
static const char *const noisy = TEXT({
    "model": { "layers": 2, "d_model": 16, "seq": 12, "vocab": 31, "norm": {"module": "noisy", "std": 0.4},
        "head": {"module": "lm", "mtp": "sequential"},
        "attention": {"module": "gqa", "heads": 2, "kv_heads": 1, "head_dim": 8},
        "ffn": {"module": "dense", "d_ff": 12} },
    "train": { "steps": 20, "batch": 4, "optim": {"module": "adamw", "lr": 0.01, "eps": 1e-5} }
});

/* keys: what differs in train. */
static inline struct session *noisy_open(const char *keys, int threads)
{
    struct session *s;
    struct err e;
    json_t *json = json_loads(noisy, 0, NULL), *changes = json_loads(keys, 0, NULL);
    assert_true(json && changes);
    json_object_update(json_object_get(json, "train"), changes);
    if (session_new(&s, json, threads, &e)) fail_msg("%s", e.text);
    json_decref(json);
    json_decref(changes);
    state_fill(s->state, 5);
    return s;
}

static inline void noisy_step(struct session *s, uint64_t seed, int64_t step)
{
    int64_t seq = s->model.seq;
    struct inputs in = inputs_new(s->batch, seq);
    plan_begin(s->plan, step, s->train.steps, s->train.micro);
    for (int micro = 0; micro < s->train.micro; micro++) {
        int64_t first = step * BATCH + micro * s->batch;
        for (int64_t i = 0; i < s->batch * seq; i++) {
            bool last = i % seq == seq - 1;
            in.ids[i] = (int32_t)key_below((struct key){ 8, PURPOSE_TEST, 0, 0 }, (uint64_t)(first * seq + i), 31);
            in.weight[i] = !last;
            if (i) in.target[i - 1] = in.ids[i];
        }
        inputs_noise(in, seed, first, s->batch);
        session_stage(s, micro, &in);
    }
    plan_step(s->plan, NULL);
    inputs_free(in);
}

static inline double noisy_loss(struct session *s)
{
    double value = NAN;
    for (int i = 0; i < s->graph->n_probes; i++)
        if (strcmp(s->graph->probe[i].name, "loss") == 0) plan_read_probe(s->plan, &s->graph->probe[i], &value);
    return value;
}

#endif
