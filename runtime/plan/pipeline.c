/* Tables of pipeline schedules, and their formulas: GPipe (Huang 2019), 1F1B and interleaved (Narayanan 2019, 2021),
   ZB-H1 (Zero Bubble, Qi 2024), ZB-V (Controllable Memory, Qi 2024), DualPipe and DualPipeV (DeepSeek-V3 2024). */
#include "pipeline.h"

#include <string.h>

const char *const pipeline_name[] = {
    "gpipe", "1f1b", "interleaved", "zb_h1", "zb_v", "dualpipe", "dualpipev", NULL
};

static int least(int a, int b) { return a < b ? a : b; }
static int most(int a, int b) { return a > b ? a : b; }

/* ---- who has what ---- */

/* Chunks are two, and the second one's stages go the other way. */
static bool folded(const struct schedule *s) { return s->kind >= PIPELINE_ZB_V; }

int pipeline_stage(const struct schedule *s, int rank, int chunk)
{
    if (folded(s)) return chunk ? s->stages - 1 - rank : rank;
    return chunk * s->ranks + rank;
}

struct stage_place pipeline_place(const struct schedule *s, int stage, int micro)
{
    bool up = s->kind == PIPELINE_DUALPIPE ? micro >= s->micros / 2 : stage >= s->ranks;
    if (folded(s)) return (struct stage_place){ up ? s->stages - 1 - stage : stage, up };
    return (struct stage_place){ stage % s->ranks, stage / s->ranks };
}

struct micros pipeline_micros(const struct schedule *s, int chunk)
{
    int half = s->micros / 2;
    return s->kind == PIPELINE_DUALPIPE ? (struct micros){ chunk * half, half } : (struct micros){ 0, s->micros };
}

/* ---- a rank's row ---- */

/* A rank as it writes its row. A gradient of weights is the oldest that waits: the row itself is the queue. */
struct hand {
    const struct schedule *s;
    int rank, waiting, oldest;    /* gradients of weights that wait; where to look for the INPUT of the oldest */
    struct row *row;
    struct counts { int forward, backward; } *done;         /* by chunk */
};

/* Schedules are written for as many micro-batches as they need to be regular: those that there are not fall out. */
static void put(struct hand *h, enum action_kind kind, int chunk)
{
    struct micros m = pipeline_micros(h->s, chunk);
    int i = kind == ACTION_FORWARD ? h->done[chunk].forward++ : h->done[chunk].backward++;
    if (i >= m.n) return;
    h->row->action[h->row->n++] = (struct action){ kind, chunk, m.first + i, false };
    h->waiting += kind == ACTION_INPUT;
}

static void put_weight(struct hand *h)
{
    if (h->waiting == 0) return;
    const struct action *action = h->row->action;
    while (action[h->oldest].kind != ACTION_INPUT) h->oldest++;
    struct action of = action[h->oldest++];
    h->row->action[h->row->n++] = (struct action){ ACTION_WEIGHT, of.chunk, of.micro, false };
    h->waiting--;
}

static void put_pair(struct hand *h, int forward, int backward)
{
    put(h, ACTION_FORWARD, forward);
    h->row->action[h->row->n - 1].with_next = true;
    put(h, ACTION_BACKWARD, backward);
}

static void put_split(struct hand *h, int chunk)
{
    put(h, ACTION_INPUT, chunk);
    put_weight(h);
}

/* `ahead` forwards, then one backward after each forward, then the other backwards. Chunks take turns, P micro-batches
   at a time, backward from the last chunk on. In halves, rank r keeps r gradients of weights for the end, when those of
   inputs are on their way through the ranks before it; with its forwards in flight that is what rank 0 holds. */
static void in_turn(struct hand *h, int ahead, bool halves)
{
    int ranks = h->s->ranks, chunks = h->s->chunks, total = h->s->micros * chunks;
    ahead = least(ahead, total);
    for (int i = 0; i < total + ahead; i++) {
        if (i < total) put(h, ACTION_FORWARD, i % (ranks * chunks) / ranks);
        if (i < ahead) continue;
        put(h, halves ? ACTION_INPUT : ACTION_BACKWARD, chunks - 1 - (i - ahead) % (ranks * chunks) / ranks);
        if (i >= total || h->waiting > h->rank) put_weight(h);
    }
    while (h->waiting) put_weight(h);
}

static void gpipe(struct hand *h) { in_turn(h, h->s->micros, false); }
static void one_one(struct hand *h) { in_turn(h, h->s->ranks - h->rank - 1, false); }
static void zb_h1(struct hand *h) { in_turn(h, h->s->ranks - h->rank - 1, true); }

static void interleaved(struct hand *h)
{
    in_turn(h, 2 * (h->s->ranks - h->rank - 1) + (h->s->chunks - 1) * h->s->ranks, false);
}

/* ZB-V. Between warm-up and end every rank does F0 I0 W F1 I1 W over and over; with all of one length, what it needs of
   its neighbours has come just then. It is regular from 2P-1 micro-batches on. */
static void zb_v(struct hand *h)
{
    int down = h->s->ranks - h->rank, micros = most(h->s->micros, 2 * h->s->ranks - 1);
    for (int i = 0; i < 2 * down - 1; i++) put(h, ACTION_FORWARD, 0);
    for (int i = 0; i < h->rank; i++) {
        put(h, ACTION_FORWARD, 1);
        put(h, ACTION_FORWARD, 0);
    }
    for (int i = 0; i < down; i++) {
        put(h, ACTION_FORWARD, 1);
        put_split(h, 1);
    }
    while (h->done[1].forward < micros) {
        put(h, ACTION_FORWARD, 0);
        put_split(h, 0);
        put(h, ACTION_FORWARD, 1);
        put_split(h, 1);
    }
    for (int i = 0; i < h->rank; i++) {
        put(h, ACTION_INPUT, 0);
        put(h, ACTION_INPUT, 1);
    }
    for (int i = 0; i < down; i++) put_split(h, 0);
    while (h->waiting) put_weight(h);
}

/* The eight steps of DualPipe and DualPipeV. Rank r is the depth-th on the way of the `near` chunk, which its input
   reaches first, and meets the far one after it, as many ranks `below` being between. Of the last 2 (depth + 1)
   backwards the second half is split. */
static void dual(struct hand *h)
{
    bool two = h->s->kind == PIPELINE_DUALPIPE;
    int ranks = h->s->ranks, middle = two ? ranks / 2 : ranks, near = two && h->rank >= middle, far = !near,
        depth = near ? ranks - 1 - h->rank : h->rank, below = middle - depth - 1;
    for (int i = 0; i < 2 * below; i++) put(h, ACTION_FORWARD, near);
    for (int i = 0; i < 2 * (depth + 1); i++) put(h, ACTION_FORWARD, i % 2 ? far : near);
    for (int i = 0; i < below; i++) {
        put_split(h, far);
        put(h, ACTION_FORWARD, far);
    }
    for (int i = 0, n = pipeline_micros(h->s, near).n - 2 * middle + depth + 1; i < n; i++) {
        put_pair(h, near, far);
        /* The innermost has nothing to overlap the first backward with: it follows from the forward just done. */
        if (i == 0 && below == 0) h->row->action[h->row->n - 2].with_next = false;
        put_pair(h, far, near);
    }
    for (int i = 0; i < below; i++) {
        put(h, ACTION_BACKWARD, far);
        put_pair(h, far, near);
    }
    for (int i = 0; i < 2 * (depth + 1); i++) put(h, i > depth ? ACTION_INPUT : ACTION_BACKWARD, i % 2 ? near : far);
    for (int i = 0; i < below; i++) {
        put_weight(h);
        put(h, ACTION_INPUT, near);
    }
    while (h->waiting) put_weight(h);
}

/* ---- formulas ---- */

double pipeline_bubble(const struct schedule *s, const struct stage_cost *all)
{
    int others = s->ranks - 1, pairs = s->ranks / 2 - 1;
    double forward = all->forward, overlapped = all->pair + all->backward - 3 * all->weight;
    switch (s->kind) {
    /* From P micro-batches on, (P-1) (F + B - 2W). */
    case PIPELINE_ZB_H1: return others * (forward + all->input) - (least(s->micros, s->ranks) - 1) * all->weight;
    /* With enough of them (P-1) F, the time until the innermost rank has its first input. */
    case PIPELINE_ZB_V: return most(others, 4 * others - 2 * (s->micros - 1)) * forward;
    case PIPELINE_DUALPIPE: return pairs * overlapped;
    case PIPELINE_DUALPIPEV: return others * overlapped;
    default: return others * (forward + all->backward);
    }
}

struct in_flight pipeline_peak(const struct schedule *s, int rank)
{
    int ranks = s->ranks, micros = s->micros, n = least(micros, ranks - rank);
    switch (s->kind) {
    case PIPELINE_GPIPE: n = micros; break;
    case PIPELINE_INTERLEAVED: n = least(micros * s->chunks, ranks * s->chunks + ranks - 1 - 2 * rank); break;
    case PIPELINE_ZB_H1: return (struct in_flight){ n, least(micros, ranks) };
    case PIPELINE_ZB_V: n = least(micros, 2 * ranks - 1 - rank) + least(micros, rank + 1); break;
    case PIPELINE_DUALPIPE: n = ranks + 1; break;
    case PIPELINE_DUALPIPEV: n = 2 * ranks + 1; break;
    default: break;
    }
    return (struct in_flight){ n, n };
}

/* ---- all of them ---- */

static const struct rule { int chunks, copies; void (*write)(struct hand *); } rules[] = {
    [PIPELINE_GPIPE] = { 1, 1, gpipe },       [PIPELINE_1F1B] = { 1, 1, one_one },
    [PIPELINE_INTERLEAVED] = { 0, 1, interleaved },                                 /* as many as it is given */
    [PIPELINE_ZB_H1] = { 1, 1, zb_h1 },       [PIPELINE_ZB_V] = { 2, 1, zb_v },
    [PIPELINE_DUALPIPE] = { 2, 2, dual },     [PIPELINE_DUALPIPEV] = { 2, 1, dual },
};

enum { MOST_FORWARDS = 1 << 22 };                           /* a table is a few hundred MB then */

static int check_numbers(const struct schedule *s, struct err *e)
{
    const char *name = pipeline_name[s->kind];
    int ranks = s->ranks, micros = s->micros, over = micros % ranks;
    bool dual = s->kind == PIPELINE_DUALPIPE || s->kind == PIPELINE_DUALPIPEV;
    if (s->kind == PIPELINE_INTERLEAVED && s->chunks < 2)
        return err_set(e, "%s: %d chunks a rank: it needs at least 2; with 1 it is 1f1b", name, s->chunks);
    if ((int64_t)ranks * micros > MOST_FORWARDS / s->chunks)
        return err_set(e, "%s: %d ranks * %d micro-batches * %d chunks: a table has at most %d", name, ranks, micros,
                       s->chunks, MOST_FORWARDS);
    if (s->kind == PIPELINE_INTERLEAVED && over != 0)
        return err_set(e, "%s: %d micro-batches over %d ranks: it needs a multiple, %d is %d * %d + %d; %d would do",
                       name, micros, ranks, micros, micros / ranks, ranks, over, micros - over + ranks);
    if (s->kind == PIPELINE_DUALPIPE && ranks % 2 != 0)
        return err_set(e, "%s: %d ranks: it needs an even number, for they are paired; %d would do", name, ranks,
                       ranks + 1);
    if (dual && micros < 2 * ranks)
        return err_set(e, "%s: %d micro-batches over %d ranks: it needs at least 2 * %d = %d", name, micros, ranks,
                       ranks, 2 * ranks);
    if (s->kind == PIPELINE_DUALPIPE && micros % 2 != 0)
        return err_set(e, "%s: %d micro-batches: it needs an even number, half for each direction; %d would do", name,
                       micros, micros + 1);
    return 0;
}

int pipeline_make(struct schedule *s, struct arena *a, enum pipeline kind, int ranks, int micros, int chunks,
                  struct err *e)
{
    const struct rule *rule = &rules[kind];
    if (rule->chunks) chunks = rule->chunks;
    if (ranks < 1 || micros < 1)
        return err_set(e, "%s: %d micro-batches over %d ranks: it needs at least one of each", pipeline_name[kind],
                       micros, ranks);
    *s = (struct schedule){ .kind = kind, .ranks = ranks, .micros = micros, .chunks = chunks };
    if (check_numbers(s, e)) return -1;
    s->stages = ranks * chunks / rule->copies;
    s->rank = arena_alloc(a, (size_t)ranks * sizeof *s->rank);
    struct counts *done = arena_alloc(a, (size_t)chunks * sizeof *done);
    for (int i = 0; i < ranks; i++) {
        struct hand h = { .s = s, .rank = i, .row = &s->rank[i], .done = done };
        memset(done, 0, (size_t)chunks * sizeof *done);
        h.row->action = arena_alloc(a, 3 * (size_t)micros * (size_t)chunks * sizeof *h.row->action);
        rule->write(&h);
    }
    return 0;
}
