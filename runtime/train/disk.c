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
    char *text = json ? study_config_text(json) : NULL;
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
    struct training_graph of;
    int failure = training_graph_build(&of, v->config, e);
    const struct train_conf *train = &of.train;
    struct graph *eval = graph_new(of.leaves);
    of.leaves->closed = true;
    if (!failure) {
        model_build(eval, of.arena, &of.model, train, MODE_EVAL,
                    model_eval_size(&of.model, train, train->batch / train->micro));
        if (eval->failed) failure = err_set(e, "%s", eval->err.text);
    }
    if (!failure) {
        int64_t written = times(train->steps, train->checkpoint_every);
        out->kept = written < train->keep ? (int)written : train->keep;
        int64_t evaluations = times(train->steps, train->eval_every), own = store_fixed_bytes(written, texts(s, v));
        int parts = model_blocks(&of.model);
        double rows = series_bytes(of.graph, STORE_TRAIN, parts, train_series, TRAIN_SERIES, train->steps) +
                      series_bytes(eval, STORE_EVAL, parts, eval_series, train_eval_series(train), evaluations);
        out->file = blocks((double)own + rows);
        out->checkpoint = blocks((double)checkpoint_bytes(of.leaves)) + MANIFEST + BLOCK;
        out->more = out->checkpoint * (train->keep ? 1 : 2); /* one that is being written, beside one that is whole */
        out->total = out->file + out->kept * out->checkpoint + FOLDERS;
    }
    graph_free(eval);
    training_graph_free(&of);
    return failure;
}
