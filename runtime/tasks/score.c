/* Log-likelihoods of rows, by the graph of an evaluation. A row takes the next place in the window that is being
   filled, or begins another; what is left of a window is not present. */
#include "score.h"
#include "cpu/pool.h"
#include "model/inputs.h"
#include "train/look.h"
#include "train/trained.h"

#include <stdlib.h>

/* Where a row is: n positions from `at`, of the whole batch. */
struct placed { int64_t at; int n; struct score *to; };
struct scorer {
    struct session *session;
    struct checkpoint from;
    struct look look; struct node *loss, *hit;
    struct inputs in;
    int64_t windows, seq;
    int64_t window, used;                                   /* that is filled, up to where */
    struct placed *placed; int n, room;                     /* of the batch */
};

/* ---- the model ---- */

static int build(struct scorer *s, struct err *e)
{
    struct session *of = s->session;
    look_begin(&s->look);
    model_build(s->look.graph, s->look.arena, &of->model, NULL, MODE_EVAL,
                (struct model_size){ .batch = s->windows, .seq = s->seq, .loss = &s->loss });
    if (!s->look.graph->failed && !s->loss) return err_set(e, "head: its loss is not one of tokens");
    s->hit = graph_result(s->look.graph, s->loss, 2);
    look_keep(s->look.graph, s->loss);
    look_keep(s->look.graph, s->hit);
    if (look_end(&s->look, of, pool_cores(), e)) return -1;
    return state_copy(s->look.leaves, s->look.state, of->leaves, of->state, e);
}

int score_open(struct scorer **out, const char *path, struct err *e)
{
    struct scorer *s = xcalloc(1, sizeof *s);
    json_t *config = trained_config(path, e);
    int failure = !config || session_new(&s->session, config, pool_cores(), e);
    json_decref(config);
    if (!failure && model_looks_ahead(&s->session->model) == AHEAD_ALWAYS)
        failure = err_set(e, "%s: the model looks ahead: what it says of a token is no likelihood", path);
    if (!failure) {
        s->windows = s->session->batch;
        s->seq = s->session->model.seq;
        s->in = inputs_new(s->windows, s->seq);
        failure = trained_load(path, s->session, &s->from, e) || build(s, e);
    }
    if (failure) { score_close(s); return -1; }
    *out = s;
    return 0;
}

void score_close(struct scorer *s)
{
    if (!s) return;
    if (s->look.graph) look_free(&s->look);
    inputs_free(s->in);
    session_free(s->session);
    free(s->placed);
    free(s);
}

const struct checkpoint *score_from(const struct scorer *s) { return &s->from; }
bool score_averages(const struct scorer *s) { return train_averages(&s->session->train); }
int score_longest(const struct scorer *s) { return (int)s->seq + 1; }
int score_vocab(const struct scorer *s) { return s->session->model.vocab; }

/* ---- rows ---- */

/* From a place on up to the end of its window: a document of nothing. */
static void fill_window(struct scorer *s, int64_t at)
{
    int32_t begin = (int32_t)(at % s->seq);
    int64_t end = (at / s->seq + 1) * s->seq;
    for (; at < end; at++) {
        s->in.ids[at] = s->in.target[at] = 0;
        s->in.weight[at] = s->in.present[at] = 0;
        s->in.start[at] = begin;
    }
}

static void put(struct scorer *s, const struct item_row *row, int64_t at)
{
    int32_t begin = (int32_t)(at % s->seq);
    for (int t = 0; t + 1 < row->n; t++, at++) {
        s->in.ids[at] = row->id[t];
        s->in.target[at] = row->id[t + 1];
        s->in.weight[at] = row->counts[t + 1];
        s->in.present[at] = 1;
        s->in.start[at] = begin;
    }
}

static void sum(const struct scorer *s, const struct placed *p, const double *loss, const double *hit)
{
    struct score score = { .greedy = true };
    for (int64_t at = p->at; at < p->at + p->n; at++) {
        if (s->in.weight[at] == 0) continue;
        score.ll -= loss[at];
        score.greedy &= hit[at] != 0;
        score.tokens++;
    }
    *p->to = score;
}

void score_flush(struct scorer *s)
{
    if (s->n == 0) return;
    if (s->used < s->seq) fill_window(s, s->window * s->seq + s->used);
    for (int64_t w = s->window + 1; w < s->windows; w++) fill_window(s, w * s->seq);
    plan_begin(s->look.plan, 0, s->session->train.steps, 1);
    inputs_stage(s->look.state, s->look.leaves, MODE_EVAL, 0, 1, &s->in);
    plan_forward(s->look.plan, 0);
    double *loss = look_read(&s->look, s->loss), *hit = look_read(&s->look, s->hit);
    for (int i = 0; i < s->n; i++) sum(s, &s->placed[i], loss, hit);
    free(loss);
    free(hit);
    s->n = 0;
    s->window = s->used = 0;
}

/* A window is over. */
static void turn(struct scorer *s)
{
    if (s->window + 1 == s->windows) { score_flush(s); return; }
    if (s->used < s->seq) fill_window(s, s->window * s->seq + s->used);
    s->window++;
    s->used = 0;
}

void score_put(struct scorer *s, const struct item_row *row, struct score *to)
{
    int n = row->n - 1;
    INVARIANT(n > 0 && n <= s->seq, "a row of %d tokens, a sequence has %lld", row->n, (long long)s->seq);
    if (s->used + n > s->seq) turn(s);
    if (s->n == s->room) s->placed = xrealloc(s->placed, (size_t)(s->room = 2 * s->room + 64) * sizeof *s->placed);
    int64_t at = s->window * s->seq + s->used;
    put(s, row, at);
    s->placed[s->n++] = (struct placed){ at, n, to };
    s->used += n;
}
