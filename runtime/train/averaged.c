/* Means of what checkpoints hold, in double. */
#include "averaged.h"
#include "metrics.h"

#include <stdlib.h>
#include <string.h>

static bool is_mean(const struct leaf *l) { return leaf_is_saved(l) && l->decl.dtype == DTYPE_REAL; }

/* sum of a leaf += share x what the state holds. */
static void add(struct session *s, const struct leaf *l, double share, double *sum)
{
    int64_t n = shape_count(l->whole);
    real *values = xmalloc(leaf_whole_bytes(l));
    state_get(s->state, l, values);
    for (int64_t i = 0; i < n; i++) sum[i] += share * (double)values[i];
    free(values);
}

static void put(struct session *s, const struct leaf *l, const double *sum)
{
    int64_t n = shape_count(l->whole);
    real *values = xmalloc(leaf_whole_bytes(l));
    for (int64_t i = 0; i < n; i++) values[i] = (real)sum[i];
    state_put(s->state, l, values);
    free(values);
}

int average_checkpoints(struct session *s, struct averaged *of, int n, struct err *e)
{
    const struct leaves *leaves = s->leaves;
    double **sum = xcalloc((size_t)leaves->n + 1, sizeof *sum), total = 0;
    int failure = 0;
    for (int i = 0; i < leaves->n; i++)
        if (is_mean(leaves->leaf[i]))
            sum[i] = xcalloc((size_t)shape_count(leaves->leaf[i]->whole), sizeof **sum);
    for (int k = 0; k < n; k++) total += of[k].weight;
    for (int k = 0; k < n && !failure; k++) {
        struct checkpoint c;
        json_t *trainer_state;
        failure = checkpoint_load(of[k].path, s->leaves, s->state, &c, &trainer_state, e);
        if (failure) break;
        json_decref(trainer_state);
        of[k].step = c.step;
        memcpy(of[k].hash, c.hash, sizeof of[k].hash);
        for (int i = 0; i < leaves->n; i++) if (sum[i]) add(s, leaves->leaf[i], of[k].weight / total, sum[i]);
    }
    for (int i = 0; i < leaves->n; i++) {
        if (sum[i] && !failure && n > 1) put(s, leaves->leaf[i], sum[i]);
        free(sum[i]);
    }
    free(sum);
    return failure ? -1 : 0;
}

int average_save(struct session *s, const json_t *config, const struct averaged *of, int n, const char *dir,
                 struct checkpoint *out, struct err *e)
{
    json_t *list = json_array(), *trainer_state;
    for (int k = 0; k < n; k++)
        json_array_append_new(list, json_pack("{s:s, s:I, s:s, s:f}", "path", of[k].path, "step",
                                                (json_int_t)of[k].step, "xxh128", of[k].hash, "weight", of[k].weight));
    trainer_state = json_pack("{s:o, s:O}", "averaged", list, "config", config);
    int failure = checkpoint_save(dir, of[n - 1].step, s->leaves, s->state, trainer_state, 0, NULL, out, e);
    json_decref(trainer_state);
    return failure;
}

int average_loss(struct session *s, const struct corpus *c, int64_t step, double *loss, struct err *e)
{
    struct model_size size = session_eval_size(s);
    struct eval_set set = corpus_eval_set(c, s->train.eval_tokens);
    struct metrics *m = metrics_new(s->eval_graph, STORE_EVAL, model_blocks(&s->model), NULL, 0);
    struct inputs in = inputs_new(size.batch, size.seq);
    session_evaluate(s, &(struct evaluation){ .corpus = c, .set = &set, .in = &in, .averages = true }, step);
    metrics_gather(m, s->eval_plan);
    *loss = metrics_get(m, "loss");
    inputs_free(in);
    metrics_free(m);
    return corpus_whole(c, e);
}
