/* What a variant's step costs beside its baseline's: both in one process, in turns. */
#include "bench.h"

#include <stdlib.h>

enum { PAIRS = 8, WARM_STEPS = 2 };

/* Of one block of steps: wall clock, processor time of all threads. */
struct spent { double wall, processor; };

static struct spent block(struct bench *b, int64_t steps)
{
    double start = clock_seconds(), processor = bench_processor_seconds();
    for (int64_t i = 0; i < steps; i++) {
        bench_step(b);
        bench_gather(b);
    }
    return (struct spent){ clock_seconds() - start, bench_processor_seconds() - processor };
}

/* Every other pair begins with the other side: drift of the machine's speed cancels. */
static json_t *pairs(struct bench *variant, struct bench *baseline, int64_t steps)
{
    double wall[PAIRS], processor[PAIRS], seconds[PAIRS];
    block(baseline, WARM_STEPS);
    block(variant, WARM_STEPS);
    for (int i = 0; i < PAIRS; i++) {
        struct spent of, than;
        if (i % 2) than = block(baseline, steps);
        of = block(variant, steps);
        if (i % 2 == 0) than = block(baseline, steps);
        wall[i] = of.wall / than.wall;
        processor[i] = of.processor / than.processor;
        seconds[i] = of.wall / (double)steps;
    }
    json_t *j = json_pack("{s:i, s:i}", "pairs", PAIRS, "steps", (int)steps);
    bench_spread(j, "step_seconds", seconds, PAIRS);
    bench_spread(j, "wall_ratio", wall, PAIRS);
    bench_spread(j, "processor_ratio", processor, PAIRS);
    return j;
}

int bench_beside(const json_t *config, const json_t *baseline, const struct bench_options *o, json_t **out,
                 struct err *e)
{
    struct bench variant = { 0 }, other = { 0 };
    if (corpus_open(&variant.corpus, "synthetic", e)) return -1;
    other.corpus = variant.corpus;
    int failure = bench_open(&variant, config, o, e) || bench_open(&other, baseline, o, e) ? -1 : 0;
    if (!failure) *out = pairs(&variant, &other, o->steps);
    bench_close(&variant);
    bench_close(&other);
    corpus_close(variant.corpus);
    return failure;
}
