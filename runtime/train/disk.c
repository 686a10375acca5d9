/* Bytes on the disk, from the graphs of training: their series make the run file, their state a checkpoint. */
#include "disk.h"
#include "checkpoint.h"
#include "metrics.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK = 4096 };

static double blocks(double bytes) { return BLOCK * (double)(int64_t)((bytes + BLOCK - 1) / BLOCK); }

/* Of what is done every so many steps and after the last one. */
static int64_t times(int64_t steps, int64_t every) { return steps / every + (steps % every != 0); }

static size_t text_bytes(const json_t *json)
{
    char *text = json ? config_canonical(json) : NULL;
    size_t n = text ? strlen(text) : 0;
    free(text);
    return n;
}

static double series_bytes(const struct graph *g, enum store_group group, int blocks, const struct series *own,
                           int n_own, int64_t rows)
{
    struct metrics *m = metrics_new(g, group, blocks, own, n_own);
    double bytes = (double)store_series_bytes(&(struct series){ .type = STORE_I64 }, rows);      /* `step` */
    for (int i = 0; i < metrics_count(m); i++) bytes += (double)store_series_bytes(&metrics_series(m)[i], rows);
    metrics_free(m);
    return bytes;
}

static size_t texts(const struct study *s, const struct variant *v)
{
    return strlen(s->script_text) + text_bytes(v->config) + text_bytes(s->required) + text_bytes(s->record);
}

int disk_of(const struct study *s, const struct variant *v, struct disk *out, struct err *e)
{
    enum { MANIFEST = BLOCK, FOLDERS = 2 * BLOCK };         /* of a checkpoint; of a run and its checkpoints */
    struct arena *arena = arena_new();
    struct problems none = { 0 };
    struct model_conf model;
    struct train_conf train;
    model_load(json_object_get(v->config, "model"), arena, &model, &none);
    train_load(json_object_get(v->config, "train"), arena, &train, &none);
    INVARIANT(none.n == 0, "a variant of a resolved study does not load");
    struct leaves *leaves = leaves_new();
    struct graph *g = graph_new(leaves), *eval = graph_new(leaves);
    model_build(g, arena, &model, &train, MODE_TRAIN,
                (struct model_size){ .batch = train.batch / train.micro, .seq = model.seq });
    leaves->closed = true;
    model_build(eval, arena, &model, &train, MODE_EVAL, model_eval_size(&model, &train, train.batch / train.micro));
    int failure = g->failed ? err_set(e, "%s", g->err.text) : eval->failed ? err_set(e, "%s", eval->err.text) : 0;
    if (!failure) {
        int64_t written = times(train.steps, train.checkpoint_every);
        out->kept = written < train.keep ? (int)written : train.keep;
        int64_t evaluations = times(train.steps, train.eval_every), own = store_fixed_bytes(written, texts(s, v));
        int parts = model_blocks(&model);
        out->file = blocks((double)own + series_bytes(g, STORE_TRAIN, parts, train_series, TRAIN_SERIES, train.steps)
                           + series_bytes(eval, STORE_EVAL, parts, eval_series, train_eval_series(&train),
                                          evaluations));
        out->checkpoint = blocks((double)checkpoint_bytes(leaves)) + MANIFEST + BLOCK;
        out->more = out->checkpoint * (train.keep ? 1 : 2); /* one that is being written, beside one that is whole */
        out->total = out->file + out->kept * out->checkpoint + FOLDERS;
    }
    graph_free(g);
    graph_free(eval);
    leaves_free(leaves);
    arena_free(arena);
    return failure;
}
