/* Schedules of pipeline parallelism: published tables and times, what must hold of every table, formulas against the
   simulation, the simulation against its own rules, and tables with a mistake in them. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "plan/pipeline.h"

enum { MOST_RANKS = 8, MOST_MICROS = 20 };

#define COST(f, b, i, w, p) { .forward = f, .backward = b, .input = i, .weight = w, .pair = p }
static const struct stage_cost unit = { .forward = 1, .backward = 2, .input = 1, .weight = 1, .pair = 3, .bytes = 1 };

struct made { struct arena *arena; struct schedule s; struct timeline t; };

static void made_free(struct made *m) { arena_free(m->arena); }

static struct made make(enum pipeline kind, int ranks, int micros, int chunks)
{
    struct made m = { .arena = arena_new() };
    struct err e;
    if (pipeline_make(&m.s, m.arena, kind, ranks, micros, chunks, &e)) fail_msg("%s", e.text);
    return m;
}

/* All stages cost the same. */
static void time_even(struct made *m, struct stage_cost all, double latency)
{
    struct stage_cost *cost = arena_alloc(m->arena, (size_t)m->s.stages * sizeof *cost);
    struct err e;
    for (int i = 0; i < m->s.stages; i++) cost[i] = all;
    if (pipeline_time(&m->t, m->arena, &m->s, cost, latency, &e)) fail_msg("%s", e.text);
}

static struct made timed(enum pipeline kind, int ranks, int micros, int chunks, struct stage_cost all)
{
    struct made m = make(kind, ranks, micros, chunks);
    time_even(&m, all, 0);
    return m;
}

/* The idle time of the rank that is idle longest. */
static double most_idle(const struct made *m)
{
    double most = 0;
    for (int i = 0; i < m->s.ranks; i++) most = fmax(most, m->t.rank[i].idle);
    return most;
}

static bool legal(enum pipeline kind, int ranks, int micros, int chunks)
{
    struct arena *a = arena_new();
    struct schedule s;
    struct err e;
    bool ok = pipeline_make(&s, a, kind, ranks, micros, chunks, &e) == 0;
    arena_free(a);
    return ok;
}

/* Calls do for each schedule that there is, up to so many ranks and micro-batches. */
static int each(void (*visit)(enum pipeline kind, int ranks, int micros, int chunks))
{
    int n = 0;
    for (enum pipeline kind = 0; kind < PIPELINE_KINDS; kind++)
        for (int ranks = 1; ranks <= MOST_RANKS; ranks++)
            for (int micros = 1; micros <= MOST_MICROS; micros++)
                for (int chunks = 2; chunks <= (kind == PIPELINE_INTERLEAVED ? 4 : 2); chunks++)
                    if (legal(kind, ranks, micros, chunks)) {
                        visit(kind, ranks, micros, chunks);
                        n++;
                    }
    return n;
}

/* ---- published tables ---- */

/* "F0.1" and "W"; of a pair "F0.3&B1.1". Returns how many actions it is. */
static int tell(const struct action *a, char text[32])
{
    if (a->kind == ACTION_WEIGHT) return snprintf(text, 32, "W"), 1;
    int n = snprintf(text, 32, "%c%d.%d", "FBI"[a->kind], a->chunk, a->micro);
    if (!a->with_next) return 1;
    snprintf(text + n, (size_t)(32 - n), "&B%d.%d", a[1].chunk, a[1].micro);
    return 2;
}

/* Words of a table, with times where they are published. */
static void see_row(const struct made *m, int rank, const char *table)
{
    const struct row *row = &m->s.rank[rank];
    char word[32], text[32];
    int i = 0, length;
    for (; sscanf(table, "%31s%n", word, &length) == 1; table += length) {
        char *at = strchr(word, '@');
        if (i >= row->n) fail_msg("rank %d ends before %s", rank, word);
        if (at && m->t.rank[rank].start[i] != atof(at + 1))
            fail_msg("rank %d: %s starts at %g", rank, word, m->t.rank[rank].start[i]);
        if (at) *at = 0;
        int n = tell(&row->action[i], text);
        if (strcmp(text, word) != 0) fail_msg("rank %d, action %d is %s, not %s", rank, i, text, word);
        i += n;
    }
    assert_int_equal(i, row->n);
}

static void see_table(enum pipeline kind, int ranks, int micros, int chunks, const char *const *table)
{
    struct made m = timed(kind, ranks, micros, chunks, unit);
    for (int i = 0; i < ranks; i++) see_row(&m, i, table[i]);
    made_free(&m);
}

/* DualPipeV: forwards and halves of one length. */
static void test_dualpipev_tables(void **state)
{
    (void)state;
    see_table(PIPELINE_DUALPIPEV, 2, 4, 0, (const char *const[]){
        "F0.0 F0.1 F0.2 F1.0 I1.0 W F1.1 F0.3&B1.1 F1.2&B0.0 B1.2 F1.3&B0.1 B1.3 I0.2 W I0.3 W",
        "F0.0 F1.0 F0.1 F1.1 F0.2 B1.0 F1.2&B0.0 F0.3&B1.1 F1.3&B0.1 B1.2 B0.2 I1.3 I0.3 W W",
    });
    see_table(PIPELINE_DUALPIPEV, 4, 8, 0, (const char *const[]){
        "F0.0@0 F0.1@1 F0.2@2 F0.3@3 F0.4@4 F0.5@5 F0.6@6 F1.0@7 I1.0@8 W@9 F1.1@10 I1.1@11 W@12 F1.2@13 I1.2@14 W@15 "
        "F1.3@16 F0.7&B1.3@17 F1.4&B0.0@23 B1.4@26 F1.5&B0.1@29 B1.5@32 F1.6&B0.2@35 B1.6@38 F1.7&B0.3@41 B1.7@44 "
        "I0.4@46 W@47 I0.5@48 W@49 I0.6@50 W@51 I0.7@52 W@53",
        "F0.0@1 F0.1@2 F0.2@3 F0.3@4 F0.4@5 F1.0@6 F0.5@7 F1.1@8 I1.0@9 W@10 F1.2@11 I1.1@12 W@13 F1.3@14 F0.6&B1.2@15 "
        "F1.4&B0.0@20 F0.7&B1.3@23 F1.5&B0.1@26 B1.4@29 F1.6&B0.2@32 B1.5@35 F1.7&B0.3@38 B1.6@41 B0.4@43 I1.7@46 "
        "I0.5@47 W I0.6 W I0.7 W W@53",
        "F0.0@2 F0.1@3 F0.2@4 F1.0@5 F0.3@6 F1.1@7 F0.4@8 F1.2@9 I1.0@10 W@11 F1.3@12 F0.5&B1.1@13 F1.4&B0.0@17 "
        "F0.6&B1.2@20 F1.5&B0.1@23 F0.7&B1.3@26 F1.6&B0.2@29 B1.4@32 F1.7&B0.3@35 B1.5@38 B0.4@40 B1.6@43 I0.5@45 "
        "I1.7@47 I0.6@48 W I0.7 W W W@53",
        "F0.0@3 F1.0@4 F0.1@5 F1.1@6 F0.2@7 F1.2@8 F0.3@9 F1.3@10 F0.4@11 B1.0@12 F1.4&B0.0@14 F0.5&B1.1@17 "
        "F1.5&B0.1@20 F0.6&B1.2@23 F1.6&B0.2@26 F0.7&B1.3@29 F1.7&B0.3@32 B1.4@35 B0.4@37 B1.5@40 B0.5@42 I1.6@45 "
        "I0.6@46 I1.7@48 I0.7@49 W@50 W@51 W@52 W@53",
    });
}

/* Small enough to be done by hand. */
static void test_other_tables(void **state)
{
    (void)state;
    see_table(PIPELINE_GPIPE, 2, 3, 0, (const char *const[]){
        "F0.0@0 F0.1@1 F0.2@2 B0.0@6 B0.1@8 B0.2@10",
        "F0.0@1 F0.1@2 F0.2@3 B0.0@4 B0.1@6 B0.2@8",
    });
    see_table(PIPELINE_1F1B, 3, 3, 0, (const char *const[]){
        "F0.0@0 F0.1@1 F0.2@2 B0.0@7 B0.1@10 B0.2@13",
        "F0.0@1 F0.1@2 B0.0@5 F0.2@7 B0.1@8 B0.2@11",
        "F0.0@2 B0.0@3 F0.1@5 B0.1@6 F0.2@8 B0.2@9",
    });
    see_table(PIPELINE_INTERLEAVED, 2, 2, 2, (const char *const[]){
        "F0.0@0 F0.1@1 F1.0@2 F1.1@3 B1.0@6 B1.1@9 B0.0@11 B0.1@13",
        "F0.0@1 F0.1@2 F1.0@3 B1.0@4 F1.1@6 B1.1@7 B0.0@9 B0.1@11",
    });
    see_table(PIPELINE_ZB_H1, 2, 3, 0, (const char *const[]){
        "F0.0@0 F0.1@1 I0.0@3 W@4 F0.2@5 I0.1@6 W@7 I0.2@8 W@9",
        "F0.0@1 I0.0@2 F0.1@3 I0.1@4 W@5 F0.2@6 I0.2@7 W@8 W@9",
    });
    see_table(PIPELINE_ZB_V, 2, 3, 0, (const char *const[]){
        "F0.0@0 F0.1@1 F0.2@2 F1.0@3 I1.0@4 W@5 F1.1@6 I1.1@7 W@8 I0.0@9 W@10 F1.2@11 I1.2@12 W@13 I0.1@14 W@15 "
        "I0.2@16 W@17",
        "F0.0@1 F1.0@2 F0.1@3 F1.1@4 I1.0@5 W@6 F0.2@7 I0.0@8 W@9 F1.2@10 I1.1@11 W@12 I0.1@13 I1.2@14 I0.2@15 W@16 "
        "W@17 W@18",
    });
    see_table(PIPELINE_DUALPIPE, 2, 4, 0, (const char *const[]){
        "F0.0@0 F1.2@1 F0.1@2 B1.2@3 F1.3&B0.0@5 B1.3@8 I0.1@10 W@11",
        "F1.2@0 F0.0@1 F1.3@2 B0.0@3 F0.1&B1.2@5 B0.1@8 I1.3@10 W@11",
    });
}

/* ---- published times ---- */

/* In fifths: F 1, B 2, W 1 and a pair of 3, then of 2.4. */
static void test_dualpipe_times(void **state)
{
    (void)state;
    static const struct { enum pipeline kind; int ranks, micros; double apart, overlapped; } known[] = {
        { PIPELINE_DUALPIPEV, 1, 2, 60, 0 },      { PIPELINE_DUALPIPEV, 2, 4, 130, 118 },
        { PIPELINE_DUALPIPEV, 3, 6, 200, 179 },   { PIPELINE_DUALPIPEV, 4, 8, 270, 240 },
        { PIPELINE_DUALPIPEV, 4, 10, 330, 288 },  { PIPELINE_DUALPIPEV, 8, 16, 550, 484 },
        { PIPELINE_DUALPIPEV, 8, 20, 670, 580 },  { PIPELINE_DUALPIPE, 4, 8, 130, 0 },
        { PIPELINE_DUALPIPE, 8, 20, 330, 0 },
    };
    static const struct stage_cost apart = COST(5, 10, 5, 5, 15), overlapped = COST(5, 10, 5, 5, 12);
    for (int i = 0; i < COUNT(known); i++) {
        struct made m = timed(known[i].kind, known[i].ranks, known[i].micros, 0, apart);
        assert_true(m.t.total == known[i].apart);
        for (int r = 0; r < m.s.ranks; r++) assert_true(m.t.rank[r].idle == pipeline_bubble(&m.s, &apart));
        time_even(&m, overlapped, 0);
        assert_true(known[i].overlapped == 0 || m.t.total == known[i].overlapped);
        assert_true(most_idle(&m) == pipeline_bubble(&m.s, &overlapped));
        made_free(&m);
    }
    static const double idle[] = { 15, 18, 21, 21 };
    struct made m = timed(PIPELINE_DUALPIPEV, 4, 10, 0, overlapped);
    for (int r = 0; r < 4; r++) assert_true(m.t.rank[r].idle == idle[r]);
    made_free(&m);
}

/* ---- every table ---- */

static void holds(enum pipeline kind, int ranks, int micros, int chunks)
{
    struct made m = make(kind, ranks, micros, chunks);
    struct in_flight peak[MOST_RANKS];
    struct err e;
    if (pipeline_check(&m.s, peak, &e))
        fail_msg("%s, %d ranks, %d micro-batches: %s", pipeline_name[kind], ranks, micros, e.text);
    for (int r = 0; r < ranks; r++) {
        struct in_flight want = pipeline_peak(&m.s, r);
        if (peak[r].input != want.input || peak[r].weight != want.weight)
            fail_msg("%s, rank %d of %d, %d micro-batches: %d and %d in flight, not %d and %d", pipeline_name[kind], r,
                     ranks, micros, peak[r].input, peak[r].weight, want.input, want.weight);
        for (int c = 0; c < m.s.chunks; c++) {
            struct stage_place p = pipeline_place(&m.s, pipeline_stage(&m.s, r, c), pipeline_micros(&m.s, c).first);
            assert_true(p.rank == r && p.chunk == c);
        }
    }
    made_free(&m);
}

static void test_all_hold(void **state)
{
    (void)state;
    assert_true(each(holds) > 800);
}

/* Named once more, for formulas could share a mistake with the tables. */
static void test_peaks(void **state)
{
    (void)state;
    for (int r = 0; r < 4; r++) {
        struct made one = make(PIPELINE_1F1B, 4, 9, 0), all = make(PIPELINE_GPIPE, 4, 9, 0),
                    two = make(PIPELINE_DUALPIPE, 4, 10, 0), v = make(PIPELINE_DUALPIPEV, 4, 9, 0),
                    zero = make(PIPELINE_ZB_V, 4, 9, 0), half = make(PIPELINE_ZB_H1, 4, 9, 0),
                    turns = make(PIPELINE_INTERLEAVED, 4, 8, 3);
        assert_int_equal(pipeline_peak(&one.s, r).weight, 4 - r);
        assert_int_equal(pipeline_peak(&all.s, r).weight, 9);
        assert_int_equal(pipeline_peak(&two.s, r).weight, 4 + 1);
        assert_int_equal(pipeline_peak(&v.s, r).weight, 2 * 4 + 1);
        assert_int_equal(pipeline_peak(&zero.s, r).weight, 2 * 4);
        assert_int_equal(pipeline_peak(&half.s, r).input, 4 - r);
        assert_int_equal(pipeline_peak(&half.s, r).weight, 4);
        assert_int_equal(pipeline_peak(&turns.s, 0).weight, 4 * 3 + 4 - 1);     /* P (1 + (P-1) / (P v)) of v chunks */
        struct made *const made[] = { &one, &all, &two, &v, &zero, &half, &turns };
        for (int i = 0; i < COUNT(made); i++) made_free(made[i]);
    }
}

static void idle_as_said(enum pipeline kind, int ranks, int micros, int chunks)
{
    static const struct stage_cost
        any[] = { COST(3, 8, 5, 3, 10), COST(4, 7, 3, 4, 9), COST(2, 2, 1, 1, 3) },
        input_as_forward[] = { COST(3, 5, 3, 2, 8), COST(3, 5, 3, 2, 6), COST(4, 8, 4, 4, 9) },
        weight_least[] = { COST(3, 5, 3, 2, 8), COST(3, 9, 6, 3, 12), COST(5, 4, 2, 2, 9) },
        all_equal[] = { COST(1, 2, 1, 1, 3), COST(5, 10, 5, 5, 15), COST(7, 14, 7, 7, 20) };
    bool dual = kind == PIPELINE_DUALPIPE || kind == PIPELINE_DUALPIPEV;
    const struct stage_cost *cost = dual ? input_as_forward : kind == PIPELINE_ZB_V ? all_equal :
                                    kind == PIPELINE_ZB_H1 ? weight_least : any;
    struct made m = make(kind, ranks, micros, chunks);
    for (int i = 0; i < 3; i++) {
        time_even(&m, cost[i], 0);
        for (int r = 0; r < ranks; r++) {
            double idle = dual ? most_idle(&m) : m.t.rank[r].idle, said = pipeline_bubble(&m.s, &cost[i]);
            if (idle != said)
                fail_msg("%s, rank %d of %d, %d micro-batches, cost %d: idle for %g, not %g", pipeline_name[kind], r,
                         ranks, micros, i, idle, said);
        }
    }
    made_free(&m);
}

static void test_bubbles(void **state)
{
    (void)state;
    each(idle_as_said);
}

static void test_formulas(void **state)
{
    (void)state;
    static const struct stage_cost c = COST(10, 21, 12, 9, 29);
    static const struct { enum pipeline kind; int ranks, micros, chunks; double bubble; } said[] = {
        { PIPELINE_GPIPE, 4, 7, 0, 3 * (10 + 21) },       { PIPELINE_1F1B, 4, 7, 0, 3 * (10 + 21) },
        { PIPELINE_INTERLEAVED, 4, 8, 3, 3 * (10 + 21) }, { PIPELINE_ZB_H1, 4, 7, 0, 3 * (10 + 21 - 2 * 9) },
        { PIPELINE_ZB_V, 4, 7, 0, 3 * 10 },               { PIPELINE_DUALPIPE, 8, 16, 0, 3 * (29 + 21 - 3 * 9) },
        { PIPELINE_DUALPIPEV, 4, 8, 0, 3 * (29 + 21 - 3 * 9) },
    };
    for (int i = 0; i < COUNT(said); i++) {
        struct made m = make(said[i].kind, said[i].ranks, said[i].micros, said[i].chunks);
        assert_true(pipeline_bubble(&m.s, &c) == said[i].bubble);
        made_free(&m);
    }
}

/* No table can be faster: the innermost rank has nothing to do before its first input has come. */
static void test_zb_v_is_idle_only_outside(void **state)
{
    (void)state;
    for (int ranks = 1; ranks <= 16; ranks++)
        for (int micros = 2 * ranks - 1; micros <= 40; micros += 3) {
            struct made m = timed(PIPELINE_ZB_V, ranks, micros, 0, unit);
            assert_true(m.t.total == 6 * micros + ranks - 1);
            for (int r = 0; r < ranks; r++) assert_true(m.t.rank[r].gap == 0);
            made_free(&m);
        }
}

/* ---- the simulation ---- */

static double drawn(int i, int most)
{
    return (double)(1 + key_below((struct key){ 7, PURPOSE_TEST, 3, 0 }, (uint64_t)i, (uint64_t)most));
}

/* When the action of this kind, or the whole backward in place of INPUT, ended. */
static double end_of(const struct made *m, enum action_kind kind, int stage, int micro)
{
    struct stage_place p = pipeline_place(&m->s, stage, micro);
    const struct row *row = &m->s.rank[p.rank];
    for (int i = 0; i < row->n; i++) {
        const struct action *a = &row->action[i];
        bool same = a->kind == kind || (kind == ACTION_INPUT && a->kind == ACTION_BACKWARD);
        if (same && a->chunk == p.chunk && a->micro == micro) return m->t.rank[p.rank].end[i];
    }
    fail_msg("stage %d never does micro-batch %d", stage, micro);
    return 0;
}

/* Activations and gradients go from rank to rank. */
static double due(const struct made *m, int rank, const struct action *a, double latency)
{
    int stage = pipeline_stage(&m->s, rank, a->chunk), before = stage - 1, after = stage + 1;
    double at = 0;
    if (a->kind == ACTION_WEIGHT) return end_of(m, ACTION_INPUT, stage, a->micro);
    if (a->kind != ACTION_FORWARD) at = end_of(m, ACTION_FORWARD, stage, a->micro);
    if (a->kind == ACTION_FORWARD ? before < 0 : after == m->s.stages) return at;
    int from = a->kind == ACTION_FORWARD ? before : after;
    double sent = end_of(m, a->kind == ACTION_FORWARD ? ACTION_FORWARD : ACTION_INPUT, from, a->micro);
    return fmax(at, sent + (pipeline_place(&m->s, from, a->micro).rank == rank ? 0 : latency));
}

static double lasts(const struct stage_cost *c, enum action_kind kind)
{
    return kind == ACTION_FORWARD ? c->forward : kind == ACTION_BACKWARD ? c->backward :
           kind == ACTION_INPUT ? c->input : c->weight;
}

/* Each action starts as soon as it can, and lasts as long as it should. */
static void see_events(const struct made *m, const struct stage_cost *cost, double latency)
{
    for (int r = 0; r < m->s.ranks; r++) {
        const struct row *row = &m->s.rank[r];
        const struct rank_time *t = &m->t.rank[r];
        double idle = m->t.total, now = 0;
        for (int i = 0; i < row->n; i++) {
            const struct action *a = &row->action[i];
            const struct stage_cost *c = &cost[pipeline_stage(&m->s, r, a->chunk)];
            double start = fmax(now, due(m, r, a, latency)), last = lasts(c, a->kind);
            if (a->with_next) {
                const struct stage_cost *d = &cost[pipeline_stage(&m->s, r, a[1].chunk)];
                start = fmax(start, due(m, r, a + 1, latency));
                last = c->pair * c->forward / (c->forward + c->backward) +
                       d->pair * d->backward / (d->forward + d->backward);
                assert_true(t->start[i] == t->start[i + 1] && t->end[i] == t->end[i + 1]);
            }
            assert_true(t->start[i] == start && t->end[i] == start + last);
            now = t->end[i];
            idle -= now - t->start[i];
            i += a->with_next;
        }
        assert_true(now <= m->t.total && fabs(idle - t->idle) < 1e-9);
    }
}

static void events(enum pipeline kind, int ranks, int micros, int chunks)
{
    if (micros % 3 && ranks > 2) return;
    struct made m = make(kind, ranks, micros, chunks);
    struct stage_cost *cost = arena_alloc(m.arena, (size_t)m.s.stages * sizeof *cost);
    struct err e;
    for (int i = 0; i < m.s.stages; i++) {
        cost[i] = (struct stage_cost){ .forward = drawn(6 * i, 9), .input = drawn(6 * i + 1, 9),
                                       .weight = drawn(6 * i + 2, 9), .backward = drawn(6 * i + 3, 19),
                                       .pair = drawn(6 * i + 4, 25), .bytes = (size_t)drawn(6 * i + 5, 99) };
    }
    if (pipeline_time(&m.t, m.arena, &m.s, cost, 2, &e)) fail_msg("%s", e.text);
    see_events(&m, cost, 2);
    made_free(&m);
}

static void test_events(void **state)
{
    (void)state;
    each(events);
}

/* Two ranks of unlike stages, by hand: forwards of 1 and 5, messages of 1. */
static void test_latency(void **state)
{
    (void)state;
    struct made m = make(PIPELINE_ZB_H1, 2, 2, 0);
    struct stage_cost cost[] = { { .forward = 1, .input = 2, .weight = 3, .bytes = 100, .waiting = 40 },
                                 { .forward = 5, .input = 4, .weight = 2, .bytes = 10, .waiting = 15 } };
    struct err e;
    assert_int_equal(pipeline_time(&m.t, m.arena, &m.s, cost, 1, &e), 0);
    double total = m.t.total;
    cost[0].up = cost[1].down = 1;                          /* the same, by what stages tell */
    assert_int_equal(pipeline_time(&m.t, m.arena, &m.s, cost, 0, &e), 0);
    assert_true(m.t.total == total);
    cost[0].down = cost[1].up = 100;                        /* to nobody */
    assert_int_equal(pipeline_time(&m.t, m.arena, &m.s, cost, 0, &e), 0);
    see_row(&m, 0, "F0.0@0 F0.1@1 I0.0@12 W@14 I0.1@21 W@23");
    see_row(&m, 1, "F0.0@2 I0.0@7 F0.1@11 I0.1@16 W@20 W@22");
    assert_true(m.t.total == 26 && m.t.rank[0].idle == 14 && m.t.rank[0].gap == 14);
    assert_true(m.t.rank[1].idle == 4 && m.t.rank[1].gap == 0);
    assert_int_equal(m.t.rank[0].bytes, 200);
    assert_int_equal(m.t.rank[1].bytes, 30);                /* 10, 15, 25, 30: what waits is more than what it was */
    made_free(&m);
}

/* ---- mistakes ---- */

static void see_broken(const struct schedule *s, const char *words)
{
    struct err e = { "" };
    struct arena *a = arena_new();
    struct timeline t;
    struct stage_cost *cost = arena_alloc(a, (size_t)s->stages * sizeof *cost);
    assert_int_equal(pipeline_check(s, NULL, &e), -1);
    if (!strstr(e.text, words)) fail_msg("'%s' lacks '%s'", e.text, words);
    assert_int_equal(pipeline_time(&t, a, s, cost, 0, &e), -1);
    arena_free(a);
}

static void exchange(struct action *a, struct action *b)
{
    struct action kept = *a;
    *a = *b;
    *b = kept;
}

/* Of one chunk, two actions of one kind or two of one micro-batch: their order is what the table says. */
static void swaps(enum pipeline kind, int ranks, int micros, int chunks)
{
    if (ranks > 4 || micros > 8) return;
    struct made m = make(kind, ranks, micros, chunks);
    for (int r = 0; r < ranks; r++)
        for (int i = 0; i < m.s.rank[r].n; i++)
            for (int j = i + 1; j < m.s.rank[r].n; j++) {
                struct action *a = &m.s.rank[r].action[i], *b = &m.s.rank[r].action[j];
                if (a->chunk != b->chunk || (a->kind != b->kind && a->micro != b->micro)) continue;
                exchange(a, b);
                see_broken(&m.s, "rank");
                exchange(a, b);
            }
    assert_int_equal(pipeline_check(&m.s, NULL, NULL), 0);
    made_free(&m);
}

static void test_swaps(void **state)
{
    (void)state;
    each(swaps);
}

static void test_broken_tables(void **state)
{
    (void)state;
    struct made m = make(PIPELINE_DUALPIPEV, 2, 4, 0);
    struct row *row = &m.s.rank[0];
    struct action kept = row->action[5];
    row->action[5] = row->action[4];                        /* I1.0 once more, in place of its W */
    see_broken(&m.s, "rank 0, action 5, gradient of inputs of chunk 1 of micro-batch 0: it is the turn of another");
    row->action[5] = kept;
    row->n--;
    see_broken(&m.s, "rank 0 ends with 3 of 4 gradients of weights of chunk 0");
    row->action[row->n++].chunk = 2;
    see_broken(&m.s, "the rank has no such chunk");
    row->action[row->n - 1] = (struct action){ ACTION_FORWARD, 0, 4, false };
    see_broken(&m.s, "the chunk has done all of them");
    row->action[row->n - 1] = (struct action){ ACTION_WEIGHT, 0, 3, true };
    see_broken(&m.s, "only a forward and a backward after it");
    row->action[row->n - 1].with_next = false;
    row->action[0].with_next = true;
    see_broken(&m.s, "rank 0, action 0, forward of chunk 0 of micro-batch 0: only a forward and a backward after it");
    row->action[0].with_next = false;
    assert_int_equal(pipeline_check(&m.s, NULL, NULL), 0);
    made_free(&m);
}

/* Each rank waits for another one. */
static void test_deadlock(void **state)
{
    (void)state;
    struct made m = make(PIPELINE_DUALPIPEV, 2, 4, 0);
    struct action *a = m.s.rank[0].action;
    for (int i = 3; i > 0; i--) exchange(&a[i], &a[i - 1]); /* F1.0, of stage 3, before F0.0 */
    see_broken(&m.s, "rank 0, action 0, forward of chunk 1 of micro-batch 0: it waits for ever for the forward of "
               "stage 2, which is rank 1's");
    made_free(&m);
    m = make(PIPELINE_1F1B, 1, 2, 0);
    m.s.rank[0].action[0].with_next = true;                 /* a backward beside its own forward */
    see_broken(&m.s, "rank 0, action 1, backward of chunk 0 of micro-batch 0: it waits for ever for the forward of "
               "stage 0, which is rank 0's");
    made_free(&m);
    m = make(PIPELINE_ZB_H1, 2, 2, 0);
    a = m.s.rank[0].action;
    exchange(&a[2], &a[3]);                                 /* a gradient of weights before that of inputs */
    see_broken(&m.s, "weights of chunk 0 of micro-batch 0: it waits for ever for the gradient of stage 0, which");
    exchange(&a[2], &a[3]);
    a = m.s.rank[1].action;
    exchange(&a[0], &a[1]);                                 /* the first to wait is another rank */
    see_broken(&m.s, "rank 0, action 2, gradient of inputs of chunk 0 of micro-batch 0: it waits for ever for the "
               "gradient of stage 1, which is rank 1's");
    made_free(&m);
}

static void test_refusals(void **state)
{
    (void)state;
    static const struct { enum pipeline kind; int ranks, micros, chunks; const char *words; } refused[] = {
        { PIPELINE_1F1B, 0, 4, 0, "1f1b: 4 micro-batches over 0 ranks: it needs at least one of each" },
        { PIPELINE_GPIPE, 4, 0, 0, "gpipe: 0 micro-batches over 4 ranks: it needs at least one of each" },
        { PIPELINE_INTERLEAVED, 4, 8, 1, "interleaved: 1 chunks a rank: it needs at least 2; with 1 it is 1f1b" },
        { PIPELINE_INTERLEAVED, 4, 10, 2,
          "interleaved: 10 micro-batches over 4 ranks: it needs a multiple, 10 is 2 * 4 + 2; 12 would do" },
        { PIPELINE_DUALPIPE, 5, 20, 0, "dualpipe: 5 ranks: it needs an even number, for they are paired; 6 would do" },
        { PIPELINE_DUALPIPE, 4, 6, 0, "dualpipe: 6 micro-batches over 4 ranks: it needs at least 2 * 4 = 8" },
        { PIPELINE_DUALPIPE, 4, 9, 0,
          "dualpipe: 9 micro-batches: it needs an even number, half for each direction; 10 would do" },
        { PIPELINE_DUALPIPEV, 4, 7, 0, "dualpipev: 7 micro-batches over 4 ranks: it needs at least 2 * 4 = 8" },
        { PIPELINE_GPIPE, 1 << 20, 1 << 20, 0,
          "gpipe: 1048576 ranks * 1048576 micro-batches * 1 chunks: a table has at most 4194304" },
        { PIPELINE_INTERLEAVED, 1, 1, 2147483647, "interleaved: 1 ranks * 1 micro-batches * 2147483647 chunks" },
    };
    for (int i = 0; i < COUNT(refused); i++) {
        struct arena *a = arena_new();
        struct schedule s;
        struct err e;
        int bad = pipeline_make(&s, a, refused[i].kind, refused[i].ranks, refused[i].micros, refused[i].chunks, &e);
        assert_int_equal(bad, -1);
        if (!strstr(e.text, refused[i].words)) fail_msg("'%s' lacks '%s'", e.text, refused[i].words);
        arena_free(a);
    }
}

static void test_names(void **state)
{
    (void)state;
    char names[128] = "";
    for (int i = 0; i < PIPELINE_KINDS; i++)
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", i ? " " : "", pipeline_name[i]);
    assert_string_equal(names, PIPELINES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dualpipev_tables), cmocka_unit_test(test_other_tables),
        cmocka_unit_test(test_dualpipe_times), cmocka_unit_test(test_all_hold), cmocka_unit_test(test_peaks),
        cmocka_unit_test(test_bubbles), cmocka_unit_test(test_formulas),
        cmocka_unit_test(test_zb_v_is_idle_only_outside), cmocka_unit_test(test_events),
        cmocka_unit_test(test_latency), cmocka_unit_test(test_swaps), cmocka_unit_test(test_broken_tables),
        cmocka_unit_test(test_deadlock), cmocka_unit_test(test_refusals), cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests_name("pipeline", tests, NULL, NULL);
}
