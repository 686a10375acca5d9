/* The walk of one rank over its calls. A call waits for what it needs, then takes its time on the device; what it tells
   others takes the time of the links: the rank waits for it there or, where it goes beside others, at the first call
   that awaits it. */
#include "talk.h"
#include "walked.h"

#include <math.h>
#include <stdlib.h>

/* ---- lanes ---- */

static void add_segment(struct lane *to, double from, double until, enum work work)
{
    if (until <= from) return;
    if (to->n == to->room) {
        to->room = 2 * to->room + 16;
        to->segment = xrealloc(to->segment, (size_t)to->room * sizeof *to->segment);
    }
    to->segment[to->n++] = (struct segment){ from, until, work };
}

void lane_add(struct lane *to, double from, double until, enum work work)
{
    struct segment *last = to->n ? &to->segment[to->n - 1] : NULL;
    if (last && last->work == work && from - last->to < 1e-12) last->to = fmax(last->to, until);
    else add_segment(to, from, until, work);
}

void lane_append(struct lane *to, const struct lane *from, double at, double scale)
{
    for (int i = 0; i < from->n; i++)
        add_segment(to, at + from->segment[i].from * scale, at + from->segment[i].to * scale, from->segment[i].work);
}

/* ---- the clock ---- */

/* wire: when the link is free. */
struct clock {
    const struct machine *m; const struct place *here;
    double now, wire;
    struct stretch *to;
};

static void wait_until(struct clock *k, double time)
{
    if (time <= k->now) return;
    k->to->exposed += time - k->now;
    k->now = time;
}

static void spend(struct clock *k, double seconds, enum work work)
{
    lane_add(&k->to->lane, k->now, k->now + seconds, work);
    k->now += seconds;
}

/* Beside what comes next; returns when it is there. */
static double tell(struct clock *k, double seconds)
{
    double start = fmax(k->now, k->wire);
    k->wire = start + seconds;
    lane_add(&k->to->lane, start, k->wire, WORK_TALK);
    k->to->talks += seconds;
    return k->wire;
}

/* A new stretch begins at time 0. */
static struct clock begin(const struct machine *m, const struct place *here, struct stretch *to)
{
    *to = (struct stretch){ 0 };
    return (struct clock){ m, here, 0, 0, to };
}

/* All that was told is there. */
static void settle(struct clock *k)
{
    wait_until(k, k->wire);
    k->to->seconds = k->now;
}

/* ---- calls ---- */

/* Calls of a pass on their way; there: when what a call told is. */
struct walk { const struct calls *calls; int micro; enum work work; int at; double *there; bool turned; };

static struct walk walk_begin(const struct calls *calls, int micro, enum work work)
{
    return (struct walk){ calls, micro, work, 0, xcalloc((size_t)calls->n + 1, sizeof(double)), false };
}

static void walk_call(struct clock *k, struct walk *w)
{
    const struct call *c = &w->calls->call[w->at];
    struct call_cost cost = plan_cost_of(c, w->micro);
    struct talk t = talk_of(c);
    if (c->awaits) wait_until(k, w->there[c->awaits - w->calls->call]);
    if (t.over && !c->beside) wait_until(k, k->wire);
    spend(k, k->m->seconds(k->m->of, &cost), w->work);
    if (t.over) w->there[w->at] = tell(k, talk_exchange(k->m, k->here, t));
    if (t.over && !c->beside) wait_until(k, k->wire);
    w->at++;
}

static void walk_calls(struct clock *k, const struct calls *calls, int micro, enum work work)
{
    struct walk w = walk_begin(calls, micro, work);
    while (w.at < calls->n) walk_call(k, &w);
    free(w.there);
}

/* Two passes together, as they are run: one goes on while the other would wait. */
static bool go_on(struct clock *k, struct walk *w, bool others)
{
    while (w->at < w->calls->n) {
        const struct call *c = &w->calls->call[w->at];
        if (c->awaits && c->awaits->beside && others && !w->turned) return w->turned = true;
        w->turned = false;
        walk_call(k, w);
    }
    return false;
}

static void walk_both(struct clock *k, struct walk forward, struct walk backward)
{
    struct walk *walk[] = { &forward, &backward };
    bool more[] = { true, true };
    for (int turn = 0; more[0] || more[1]; turn = !turn) if (more[turn]) more[turn] = go_on(k, walk[turn], more[!turn]);
    free(forward.there);
    free(backward.there);
}

/* ---- passes ---- */

static void reduce_buckets(struct clock *k, const struct plan *p, int *bucket, int done)
{
    for (; *bucket < p->n_buckets && p->bucket[*bucket].ready <= done; ++*bucket) {
        const struct bucket *b = &p->bucket[*bucket];
        double seconds = talk_reduce(k->m, k->here, b->over, (double)(b->to - b->from));
        if (seconds > 0) tell(k, seconds);
    }
}

static void walk_ahead(struct walked *w, const struct plan *p, const struct place *here, const struct machine *m)
{
    struct clock k = begin(m, here, &w->ahead);
    for (int micro = 0; micro < w->micros; micro++) walk_calls(&k, &p->ahead, micro, WORK_FORWARD);
    double seconds = talk_reduce(m, here, OVER_DATA, (double)p->aheads);
    if (seconds > 0) tell(&k, seconds);
    settle(&k);
    walk_calls(&k, &p->once, 0, WORK_FORWARD);
    for (int c = 0; c < p->n_chunks; c++) walk_calls(&k, &p->chunk[c]->once, 0, WORK_FORWARD);
    settle(&k);
}

/* Without a pipeline: pieces of gradients are added up while the last backward goes on. */
static void walk_passes(struct walked *w, const struct plan *p, const struct place *here, const struct machine *m)
{
    struct clock k = begin(m, here, &w->passes);
    for (int micro = 0, bucket = 0; micro < w->micros; micro++) {
        walk_calls(&k, &p->forward, micro, WORK_FORWARD);
        settle(&k);
        struct walk back = walk_begin(&p->backward, micro, WORK_BACKWARD);
        while (back.at < p->backward.n) {
            walk_call(&k, &back);
            if (micro == w->micros - 1) reduce_buckets(&k, p, &bucket, back.at);
        }
        free(back.there);
        settle(&k);
    }
}

static struct stretch walk_action(const struct calls *calls, enum work work, const struct place *here,
                                  const struct machine *m, int micro)
{
    struct stretch s;
    struct clock k = begin(m, here, &s);
    walk_calls(&k, calls, micro, work);
    settle(&k);
    return s;
}

static double crossing_bytes(const struct plan *stage, const struct crossings *x, int what)
{
    double bytes = 0;
    for (int i = 0; i < x->n; i++) {
        int storage = crossing_storage(&x->crossing[i], what);
        if (storage != NONE) bytes += (double)plan_decl_bytes(stage, stage->storage[storage].decl);
    }
    return bytes;
}

/* The rank of the stage after this one, or before it; where there is none, this rank. */
static int neighbour(const struct plan *p, const struct plan *stage, int by, const struct place *here)
{
    int to = stage->part + by;
    if (to < 0 || to >= p->schedule.stages) return here->rank;
    return place_at(here, pipeline_place(&p->schedule, to, stage->first).rank);
}

/* A later micro-batch, which adds to gradients, stands for all. */
static struct walked_chunk walk_chunk(const struct plan *p, const struct plan *stage, const struct place *here,
                                      const struct machine *m, int micros)
{
    int micro = micros > 1;
    struct walked_chunk c = {
        .forward = walk_action(&stage->forward, WORK_FORWARD, here, m, micro),
        .input = walk_action(&stage->backward, WORK_BACKWARD, here, m, micro),
        .weight = walk_action(&stage->weight, WORK_WEIGHT, here, m, micro),
    };
    struct stretch both;
    struct clock k = begin(m, here, &both);
    walk_both(&k, walk_begin(&stage->forward, micro, WORK_FORWARD), walk_begin(&stage->backward, micro, WORK_BACKWARD));
    settle(&k);
    c.both = both.seconds;
    free(both.lane.segment);
    c.up = talk_message(m, here->rank, neighbour(p, stage, 1, here), crossing_bytes(stage, &stage->outgoing, VALUES));
    c.down = talk_message(m, here->rank, neighbour(p, stage, -1, here), crossing_bytes(stage, &stage->incoming, GRADS));
    return c;
}

/* ---- the update ---- */

/* The leaf whose holder alone runs it; NULL: all do. */
static const struct leaf *held_leaf(const struct node *n)
{
    for (int k = 0; update_is_held(n) && k < n->n_in; k++)
        if (plan_leaf_of(n->in[k]) && plan_leaf_of(n->in[k])->holder) return plan_leaf_of(n->in[k]);
    return NULL;
}

/* To each rank at this position that holds the leaf, or its part of it. */
static void add_load(double *load, const struct place *here, const struct leaf *l, double seconds)
{
    unsigned replicas = leaf_replicas(l), parts = OVER_ALL & ~(replicas | OVER_PP);
    struct place at = *here;
    for (int i = 0; i < place_group(here, parts); i++) {
        at.rank = place_member(here, parts, i);
        load[place_member(&at, replicas, l->holder - 1)] += seconds;
    }
}

/* The updates up to `end`: as long as for the rank that holds the most. */
static struct stretch walk_updates(const struct plan *p, int from, int end, const struct place *here,
                                   const struct machine *m, double *load)
{
    struct stretch s;
    struct clock k = begin(m, here, &s);
    int ranks = mesh_ranks(&here->mesh);
    double most = 0;
    for (int r = 0; r < ranks; r++) load[r] = 0;
    for (int i = from; i < end; i++) {
        const struct call *c = &p->update.call[i];
        const struct leaf *l = held_leaf(c->node);
        if (!home_is_here(c->node->home, here) || (l && !home_is_here(l->home, here))) continue;
        struct call_cost cost = plan_cost_of(c, 0);
        double seconds = m->seconds(m->of, &cost);
        if (l) add_load(load, here, l, seconds);
        else spend(&k, seconds, WORK_UPDATE);
    }
    for (int r = 0; r < ranks; r++) most = fmax(most, load[r]);
    spend(&k, most, WORK_UPDATE);
    settle(&k);
    return s;
}

static struct stretch walk_share(const struct exchange *x, const struct place *here, const struct machine *m)
{
    struct stretch s;
    struct clock k = begin(m, here, &s);
    for (int i = 0; i < x->n; i++)
        if (home_is_here(x->leaf[i]->home, here))
            tell(&k, talk_broadcast(m, here, leaf_replicas(x->leaf[i]), (double)leaf_bytes(x->leaf[i])));
    if (x->to > x->from) tell(&k, talk_reduce(m, here, OVER_ALL, (double)(x->to - x->from)));
    settle(&k);
    return s;
}

static void walk_update(struct walked *w, const struct plan *p, const struct place *here, const struct machine *m)
{
    double *load = xcalloc((size_t)mesh_ranks(&here->mesh), sizeof *load);
    w->phases = p->n_exchanges;
    w->update = xcalloc((size_t)w->phases + 1, sizeof *w->update);
    w->share = xcalloc((size_t)w->phases + 1, sizeof *w->share);
    for (int x = 0, from = 0; x <= w->phases; x++) {
        int end = x < w->phases ? p->exchange[x].end : p->update.n;
        w->update[x] = walk_updates(p, from, end, here, m, load);
        if (x < w->phases) w->share[x] = walk_share(&p->exchange[x], here, m);
        from = end;
    }
    free(load);
}

/* ---- a rank ---- */

static struct stretch walk_sums(const struct place *here, const struct machine *m, const struct bucket *sum, int n)
{
    struct stretch s;
    struct clock k = begin(m, here, &s);
    for (int i = 0; i < n; i++) {
        double seconds = talk_reduce(m, here, sum[i].over, (double)(sum[i].to - sum[i].from));
        if (seconds > 0) tell(&k, seconds);
    }
    settle(&k);
    return s;
}

static void walk_stages(struct walked *w, const struct plan *p, const struct place *here, const struct machine *m)
{
    w->pipeline.kind = p->schedule.kind;
    w->pipeline.ranks = p->schedule.ranks;
    w->pipeline.chunks = p->n_chunks;
    w->chunk = xcalloc((size_t)p->n_chunks, sizeof *w->chunk);
    for (int c = 0; c < p->n_chunks; c++) w->chunk[c] = walk_chunk(p, p->chunk[c], here, m, w->micros);
    w->sums = walk_sums(here, m, p->bucket, p->n_buckets);
}

struct walked *simulate_rank(const struct plan *p, const struct place *here, const struct machine *m, int micros)
{
    struct walked *w = xcalloc(1, sizeof *w);
    struct bucket carries[] = { { p->aheads, p->sums, 0, OVER_DATA | OVER_PIPELINE },
                                { p->sums, p->maxes, 0, OVER_ALL }, { p->maxes, p->lasts, 0, OVER_PIPELINE } },
                  homes = { p->changes, p->homes, 0, OVER_PP };
    w->micros = micros;
    walk_ahead(w, p, here, m);
    if (pipe_is(p)) walk_stages(w, p, here, m);
    else walk_passes(w, p, here, m);
    w->carries = walk_sums(here, m, carries, COUNT(carries));
    walk_update(w, p, here, m);
    w->homes = walk_sums(here, m, &homes, 1);
    return w;
}

static void drop(struct stretch *s) { free(s->lane.segment); }

void walked_free(struct walked *w)
{
    if (!w) return;
    struct stretch *one[] = { &w->ahead, &w->passes, &w->sums, &w->carries, &w->homes };
    for (int i = 0; i < COUNT(one); i++) drop(one[i]);
    for (int c = 0; c < w->pipeline.chunks && w->chunk; c++) {
        drop(&w->chunk[c].forward);
        drop(&w->chunk[c].input);
        drop(&w->chunk[c].weight);
    }
    for (int x = 0; x <= w->phases; x++) { drop(&w->update[x]); drop(&w->share[x]); }
    free(w->chunk);
    free(w->update);
    free(w->share);
    free(w);
}
