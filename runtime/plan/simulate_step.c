/* A step of all pipeline positions: what each does between two meetings, and at meetings the one that comes last. */
#include "walked.h"

#include <math.h>
#include <stdlib.h>

/* Time of a position so far; busy: of it, when it did not wait for another. */
struct position { double now, busy, exposed, talks; };
struct sum {
    struct walked *const *rank; int ranks;
    const struct machine *m;
    struct position *at;
    struct lane *lane;                                      /* NULL: none is drawn */
};

static void add(struct sum *s, int q, const struct stretch *of)
{
    struct position *p = &s->at[q];
    if (s->lane) lane_append(&s->lane[q], &of->lane, p->now, 1);
    p->now += of->seconds;
    p->busy += of->seconds;
    p->exposed += of->exposed;
    p->talks += of->talks;
}

static void meet(struct sum *s)
{
    double last = 0;
    for (int q = 0; q < s->ranks; q++) last = fmax(last, s->at[q].now);
    for (int q = 0; q < s->ranks; q++) s->at[q].now = last;
}

/* ---- the pipeline ---- */

static struct stage_cost cost_of(const struct walked_chunk *c)
{
    return (struct stage_cost){ .forward = c->forward.seconds, .backward = c->input.seconds + c->weight.seconds,
                                .input = c->input.seconds, .weight = c->weight.seconds,
                                .pair = c->both + c->weight.seconds, .up = c->up, .down = c->down };
}

static void draw_action(struct lane *lane, const struct walked_chunk *c, enum action_kind kind, double at, double scale)
{
    bool whole = kind == ACTION_BACKWARD;
    if (kind == ACTION_FORWARD) lane_append(lane, &c->forward.lane, at, scale);
    if (whole || kind == ACTION_INPUT) lane_append(lane, &c->input.lane, at, scale);
    if (whole) at += c->input.seconds * scale;
    if (whole || kind == ACTION_WEIGHT) lane_append(lane, &c->weight.lane, at, scale);
}

/* What an action takes, tells, and waits for, apart from others. */
static struct stretch action_of(const struct walked_chunk *c, enum action_kind kind)
{
    struct stretch s = kind == ACTION_FORWARD ? c->forward : kind == ACTION_WEIGHT ? c->weight : c->input;
    if (kind == ACTION_BACKWARD) {
        s.seconds += c->weight.seconds;
        s.talks += c->weight.talks;
        s.exposed += c->weight.exposed;
    }
    return s;
}

/* An action, or two that run together, in which the calls of one hide what the other tells. */
static int add_actions(struct sum *s, int q, const struct action *a, double at, double seconds)
{
    const struct walked_chunk *chunk = s->rank[q]->chunk;
    int n = 1 + a->with_next;
    double apart = 0, exposed = 0;
    for (int i = 0; i < n; i++) {
        struct stretch own = action_of(&chunk[a[i].chunk], a[i].kind);
        apart += own.seconds;
        exposed += own.exposed;
        s->at[q].talks += own.talks;
    }
    s->at[q].exposed += fmax(0, exposed - (apart - seconds));
    for (int i = 0; i < n && s->lane && apart > 0; i++) {
        const struct walked_chunk *c = &chunk[a[i].chunk];
        draw_action(&s->lane[q], c, a[i].kind, at, seconds / apart);
        at += action_of(c, a[i].kind).seconds * seconds / apart;
    }
    return n;
}

static void add_row(struct sum *s, int q, const struct schedule *of, const struct timeline *t)
{
    const struct row *row = &of->rank[q];
    const struct rank_time *time = &t->rank[q];
    struct position *p = &s->at[q];
    for (int i = 0; i < row->n; )
        i += add_actions(s, q, &row->action[i], p->now + time->start[i], time->end[i] - time->start[i]);
    p->now += time->end[row->n - 1];
    p->busy += t->total - time->idle;
}

static int run_pipeline(struct sum *s, struct err *e)
{
    const struct walked *first = s->rank[0];
    struct arena *a = arena_new();
    struct schedule of;
    struct timeline t;
    int failure = pipeline_make(&of, a, first->pipeline.kind, s->ranks, first->micros, first->pipeline.chunks, e);
    struct stage_cost *cost = arena_alloc(a, (size_t)(failure ? 1 : of.stages) * sizeof *cost);
    for (int q = 0; q < s->ranks && !failure; q++)
        for (int c = 0; c < of.chunks; c++)
            cost[pipeline_stage(&of, q, c)] = cost_of(&s->rank[q]->chunk[c]);
    if (!failure) failure = pipeline_time(&t, a, &of, cost, 0, e);
    for (int q = 0; q < s->ranks && !failure; q++) add_row(s, q, &of, &t);
    arena_free(a);
    return failure;
}

/* ---- a step ---- */

static void add_all(struct sum *s, size_t field)
{
    for (int q = 0; q < s->ranks; q++)
        add(s, q, (const struct stretch *)(const void *)((const char *)s->rank[q] + field));
}

static int run_step(struct sum *s, struct err *e)
{
    add_all(s, offsetof(struct walked, ahead));
    if (s->rank[0]->pipeline.ranks == 0) add_all(s, offsetof(struct walked, passes));
    else if (run_pipeline(s, e)) return -1;
    add_all(s, offsetof(struct walked, sums));
    meet(s);
    add_all(s, offsetof(struct walked, carries));
    meet(s);
    for (int x = 0; x <= s->rank[0]->phases; x++) {
        for (int q = 0; q < s->ranks; q++) add(s, q, &s->rank[q]->update[x]);
        meet(s);
        for (int q = 0; q < s->ranks && x < s->rank[0]->phases; q++) add(s, q, &s->rank[q]->share[x]);
        meet(s);
    }
    add_all(s, offsetof(struct walked, homes));
    meet(s);
    return 0;
}

int simulate_step(struct simulated *out, struct walked *const *rank, int ranks, const struct machine *m, bool draw,
                  struct err *e)
{
    struct sum s = { rank, ranks, m, xcalloc((size_t)ranks, sizeof *s.at),
                     draw ? xcalloc((size_t)ranks, sizeof *s.lane) : NULL };
    *out = (struct simulated){ .lane = s.lane };
    int failure = run_step(&s, e);
    out->seconds = s.at[0].now + m->step;
    for (int q = 0; q < ranks; q++) {
        out->idle += (1 - (s.at[q].busy + m->step) / out->seconds) / ranks;
        out->exposed += s.at[q].exposed / ranks;
        out->hidden += fmax(0, s.at[q].talks - s.at[q].exposed) / ranks;
    }
    free(s.at);
    if (failure) simulated_free(out, ranks);
    return failure;
}

void simulated_free(struct simulated *s, int ranks)
{
    for (int q = 0; q < ranks && s->lane; q++) free(s->lane[q].segment);
    free(s->lane);
    s->lane = NULL;
}
