/* Steps to be timed, and what times are told as. */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

enum { SEED = 1 };

void bench_begin(struct bench *b)
{
    state_fill(b->session->state, SEED);
    b->done = 0;
}

void bench_step(struct bench *b)
{
    struct session *s = b->session;
    int64_t steps = b->done < s->train.steps ? s->train.steps : b->done + 1;  /* the schedule ends with the last step */
    plan_begin(s->plan, b->done, steps, s->train.micro);
    for (int micro = 0; micro < s->train.micro; micro++) {
        double start = clock_seconds();
        corpus_batch(b->corpus, SEED, b->done * s->train.batch + micro * s->batch, (int)s->batch, s->model.seq,
                     b->batch);
        session_stage(s, micro, &b->batch);
        b->data_seconds += clock_seconds() - start;
    }
    plan_step(s->plan, NULL);
    b->done++;
}

void bench_gather(struct bench *b)
{
    double start = clock_seconds();
    metrics_gather(b->metrics, b->session->plan);
    for (int i = 0; i < TRAIN_SERIES; i++) metrics_set(b->metrics, train_series[i].name, 0);
    b->gather_seconds += clock_seconds() - start;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void set(json_t *to, const char *key, double x) { json_object_set_new(to, key, json_real(x)); }

void bench_spread(json_t *to, const char *key, double *x, int n)
{
    char least[64], most[64];
    snprintf(least, sizeof least, "%s_min", key);
    snprintf(most, sizeof most, "%s_max", key);
    qsort(x, (size_t)n, sizeof *x, by_value);
    set(to, key, (x[(n - 1) / 2] + x[n / 2]) / 2);
    set(to, least, x[0]);
    set(to, most, x[n - 1]);
}

double bench_processor_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + 1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

struct bench_spent bench_clock(void) { return (struct bench_spent){ clock_seconds(), bench_processor_seconds() }; }

struct bench_spent bench_since(struct bench_spent start)
{
    struct bench_spent now = bench_clock();
    return (struct bench_spent){ now.wall - start.wall, now.processor - start.processor };
}

int bench_pairs(bench_block *block, void *context, json_t *to, struct err *e)
{
    double wall[BENCH_PAIRS], processor[BENCH_PAIRS];
    for (int i = 0; i < BENCH_PAIRS; i++) {
        struct bench_spent first, other;
        if (i % 2 && block(context, false, &other, e)) return -1;
        if (block(context, true, &first, e)) return -1;
        if (i % 2 == 0 && block(context, false, &other, e)) return -1;
        wall[i] = first.wall / other.wall;
        processor[i] = first.processor / other.processor;
    }
    json_object_set_new(to, "pairs", json_integer(BENCH_PAIRS));
    bench_spread(to, "wall_ratio", wall, BENCH_PAIRS);
    bench_spread(to, "processor_ratio", processor, BENCH_PAIRS);
    return 0;
}
