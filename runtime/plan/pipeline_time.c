/* The check of a pipeline schedule's table, and the simulation of its events: each rank works through its row, waiting
   for what other ranks are to send. */
#include "pipeline.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const kind_name[] = { "forward", "backward", "gradient of inputs", "gradient of weights" };

/* ---- the order in rows ---- */

/* What an action does: parts that each stage does once for each micro-batch. */
enum part { PART_FORWARD, PART_INPUT, PART_WEIGHT, PARTS };
static const char *const part_name[] = { "forwards", "gradients of inputs", "gradients of weights" };
static const struct { enum part first, last; } parts_of[] = {
    [ACTION_FORWARD] = { PART_FORWARD, PART_FORWARD },      [ACTION_BACKWARD] = { PART_INPUT, PART_WEIGHT },
    [ACTION_INPUT] = { PART_INPUT, PART_INPUT },            [ACTION_WEIGHT] = { PART_WEIGHT, PART_WEIGHT },
};
struct progress { int done[PARTS]; };                       /* of a chunk */

static int wrong(struct err *e, const struct schedule *s, int rank, int i, const char *why)
{
    const struct action *a = &s->rank[rank].action[i];
    return err_set(e, "rank %d, action %d, %s of chunk %d of micro-batch %d: %s", rank, i, kind_name[a->kind], a->chunk,
                   a->micro, why);
}

static int check_action(const struct schedule *s, struct progress *chunk, int rank, int i, struct err *e)
{
    const struct row *row = &s->rank[rank];
    const struct action *a = &row->action[i];
    if (a->chunk < 0 || a->chunk >= s->chunks) return wrong(e, s, rank, i, "the rank has no such chunk");
    if (a->with_next &&
        (a->kind != ACTION_FORWARD || i + 1 == row->n || row->action[i + 1].kind != ACTION_BACKWARD))
        return wrong(e, s, rank, i, "only a forward and a backward after it run together");
    struct micros m = pipeline_micros(s, a->chunk);
    for (enum part part = parts_of[a->kind].first; part <= parts_of[a->kind].last; part++) {
        int turn = chunk[a->chunk].done[part]++;
        if (turn == m.n) return wrong(e, s, rank, i, "the chunk has done all of them");
        if (a->micro != m.first + turn) return wrong(e, s, rank, i, "it is the turn of another micro-batch");
    }
    return 0;
}

static int check_rank(const struct schedule *s, struct progress *chunk, int rank, struct err *e)
{
    for (int c = 0; c < s->chunks; c++) chunk[c] = (struct progress){ { 0 } };
    for (int i = 0; i < s->rank[rank].n; i++) if (check_action(s, chunk, rank, i, e)) return -1;
    for (int c = 0; c < s->chunks; c++)
        for (enum part part = 0; part < PARTS; part++)
            if (chunk[c].done[part] != pipeline_micros(s, c).n)
                return err_set(e, "rank %d ends with %d of %d %s of chunk %d", rank, chunk[c].done[part],
                               pipeline_micros(s, c).n, part_name[part], c);
    return 0;
}

static int check_rows(const struct schedule *s, struct err *e)
{
    struct progress *chunk = xcalloc((size_t)s->chunks, sizeof *chunk);
    int bad = 0;
    for (int i = 0; i < s->ranks && !bad; i++) bad = check_rank(s, chunk, i, e);
    free(chunk);
    return bad;
}

/* ---- the walk ---- */

static const double never = INFINITY;                       /* not done yet */

struct walk {
    const struct schedule *s;
    const struct stage_cost *cost;
    double latency;
    double *forward, *gradient;                             /* [stages,M]: when it was done */
    int *at;                                                /* by rank: the action that is next */
    double *free;                                           /* by rank: when it is */
    struct timeline *t;
};

/* When what was done of a stage has come to a rank. */
static double arrival(const struct walk *w, const double *done, int stage, int micro, int rank)
{
    double sent = done[(size_t)stage * (size_t)w->s->micros + (size_t)micro];
    if (pipeline_place(w->s, stage, micro).rank == rank) return sent;
    return sent + w->latency + (done == w->forward ? w->cost[stage].up : w->cost[stage].down);
}

/* When all is there that an action needs. */
static double ready(const struct walk *w, int rank, const struct action *a)
{
    int stage = pipeline_stage(w->s, rank, a->chunk);
    if (a->kind == ACTION_FORWARD) return stage == 0 ? 0 : arrival(w, w->forward, stage - 1, a->micro, rank);
    if (a->kind == ACTION_WEIGHT) return arrival(w, w->gradient, stage, a->micro, rank);
    double forward = arrival(w, w->forward, stage, a->micro, rank);
    return stage == w->s->stages - 1 ? forward : fmax(forward, arrival(w, w->gradient, stage + 1, a->micro, rank));
}

static double share(const struct stage_cost *c, double part)
{
    double apart = c->forward + c->backward;
    return apart > 0 ? c->pair * part / apart : 0;
}

static double length(const struct walk *w, int rank, const struct action *a)
{
    const struct stage_cost *c = &w->cost[pipeline_stage(w->s, rank, a->chunk)];
    if (a->with_next) {
        const struct stage_cost *next = &w->cost[pipeline_stage(w->s, rank, a[1].chunk)];
        return share(c, c->forward) + share(next, next->backward);
    }
    switch (a->kind) {
    case ACTION_FORWARD: return c->forward;
    case ACTION_BACKWARD: return c->backward;
    case ACTION_INPUT: return c->input;
    default: return c->weight;
    }
}

static void finish(struct walk *w, int rank, const struct action *a, double start, double end)
{
    size_t at = (size_t)pipeline_stage(w->s, rank, a->chunk) * (size_t)w->s->micros + (size_t)a->micro;
    if (a->kind == ACTION_FORWARD) w->forward[at] = end;
    else if (a->kind != ACTION_WEIGHT) w->gradient[at] = end;
    w->t->rank[rank].start[w->at[rank]] = start;
    w->t->rank[rank].end[w->at[rank]++] = end;
}

/* Whether the rank's next action, or pair, could be executed. */
static bool step(struct walk *w, int rank)
{
    const struct row *row = &w->s->rank[rank];
    if (w->at[rank] == row->n) return false;
    const struct action *a = &row->action[w->at[rank]];
    double start = fmax(w->free[rank], ready(w, rank, a));
    if (a->with_next) start = fmax(start, ready(w, rank, a + 1));
    if (start == never) return false;
    double end = w->free[rank] = start + length(w, rank, a);
    finish(w, rank, a, start, end);
    if (a->with_next) finish(w, rank, a + 1, start, end);
    return true;
}

/* Says what the rank waits for. */
static int stuck(const struct walk *w, int rank, struct err *e)
{
    int i = w->at[rank];
    const struct action *a = &w->s->rank[rank].action[i];
    if (a->with_next && ready(w, rank, a) != never) a = &w->s->rank[rank].action[++i];
    int stage = pipeline_stage(w->s, rank, a->chunk), of = stage;
    bool forward = a->kind == ACTION_FORWARD, weight = a->kind == ACTION_WEIGHT,
         own = !forward && !weight && arrival(w, w->forward, stage, a->micro, rank) == never;
    if (forward) of = stage - 1;
    else if (!weight && !own) of = stage + 1;
    char why[128];
    snprintf(why, sizeof why, "it waits for ever for the %s of stage %d, which is rank %d's",
             own || forward ? "forward" : "gradient", of, pipeline_place(w->s, of, a->micro).rank);
    return wrong(e, w->s, rank, i, why);
}

static int walk(struct walk *w, struct err *e)
{
    for (bool moved = true; moved;) {
        moved = false;
        for (int i = 0; i < w->s->ranks; i++) while (step(w, i)) moved = true;
    }
    for (int i = 0; i < w->s->ranks; i++)
        if (w->at[i] < w->s->rank[i].n) return stuck(w, i, e);
    return 0;
}

static int walk_all(struct walk *w, struct err *e)
{
    size_t ranks = (size_t)w->s->ranks, n = (size_t)w->s->stages * (size_t)w->s->micros;
    w->forward = xmalloc(n * sizeof *w->forward);
    w->gradient = xmalloc(n * sizeof *w->gradient);
    w->at = xcalloc(ranks, sizeof *w->at);
    w->free = xcalloc(ranks, sizeof *w->free);
    for (size_t i = 0; i < n; i++) w->forward[i] = w->gradient[i] = never;
    int bad = walk(w, e);
    free(w->forward);
    free(w->gradient);
    free(w->at);
    free(w->free);
    return bad;
}

/* ---- what comes of it ---- */

/* The most bytes of activations that are live at a time; each: 0 where all stages cost the same. A rank does one thing
   after the other, or a forward beside a backward, so the table alone decides. */
static size_t most_live(const struct schedule *s, int rank, const struct stage_cost *cost, int each)
{
    size_t live = 0, most = 0;
    for (int i = 0; i < s->rank[rank].n; i++) {
        const struct action *a = &s->rank[rank].action[i];
        const struct stage_cost *c = &cost[each * pipeline_stage(s, rank, a->chunk)];
        switch (a->kind) {
        case ACTION_FORWARD: live += c->bytes; break;
        case ACTION_BACKWARD: live -= c->bytes; break;
        case ACTION_INPUT: live += c->waiting - c->bytes; break;
        default: live -= c->waiting; break;
        }
        if (live > most) most = live;
    }
    return most;
}

static void sum_up(struct rank_time *r, const struct walk *w, int rank)
{
    const struct row *row = &w->s->rank[rank];
    double busy = 0;
    for (int i = 0; i < row->n; i++) {
        busy += r->end[i] - r->start[i];
        i += row->action[i].with_next;                      /* the other one of a pair has the same time */
    }
    r->idle = w->t->total - busy;
    r->gap = r->end[row->n - 1] - r->start[0] - busy;
    r->bytes = most_live(w->s, rank, w->cost, 1);
}

int pipeline_time(struct timeline *t, struct arena *a, const struct schedule *s, const struct stage_cost *cost,
                  double latency, struct err *e)
{
    *t = (struct timeline){ .rank = arena_alloc(a, (size_t)s->ranks * sizeof *t->rank) };
    struct walk w = { .s = s, .cost = cost, .latency = latency, .t = t };
    if (check_rows(s, e)) return -1;
    for (int i = 0; i < s->ranks; i++) {
        t->rank[i].start = arena_alloc(a, (size_t)s->rank[i].n * sizeof *t->rank[i].start);
        t->rank[i].end = arena_alloc(a, (size_t)s->rank[i].n * sizeof *t->rank[i].end);
    }
    if (walk_all(&w, e)) return -1;
    for (int i = 0; i < s->ranks; i++) t->total = fmax(t->total, t->rank[i].end[s->rank[i].n - 1]);
    for (int i = 0; i < s->ranks; i++) sum_up(&t->rank[i], &w, i);
    return 0;
}

int pipeline_check(const struct schedule *s, struct in_flight *peak, struct err *e)
{
    static const struct stage_cost input = { .bytes = 1 }, weight = { .bytes = 1, .waiting = 1 };
    struct arena *a = arena_new();
    struct timeline t;
    int bad = pipeline_time(&t, a, s, arena_alloc(a, (size_t)s->stages * sizeof(struct stage_cost)), 0, e);
    for (int i = 0; i < s->ranks && !bad && peak; i++)
        peak[i] = (struct in_flight){ (int)most_live(s, i, &input, 0), (int)most_live(s, i, &weight, 0) };
    arena_free(a);
    return bad;
}
