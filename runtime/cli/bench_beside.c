/* What a variant's step costs beside its baseline's: both in one process, in turns. */
#include "bench.h"

enum { WARM_STEPS = 2 };

/* seconds: of a step of the variant, in each of its blocks. */
struct beside { struct bench variant, baseline; int64_t steps; double seconds[BENCH_PAIRS]; int n; };

static void steps(struct bench *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        bench_step(b);
        bench_gather(b);
    }
}

static int block(void *context, bool variant, struct bench_spent *out, struct err *e)
{
    (void)e;
    struct beside *x = context;
    struct bench_spent start = bench_clock();
    steps(variant ? &x->variant : &x->baseline, x->steps);
    *out = bench_since(start);
    if (variant) x->seconds[x->n++] = out->wall / (double)x->steps;
    return 0;
}

static int measure(struct beside *x, json_t *to, struct err *e)
{
    steps(&x->baseline, WARM_STEPS);
    steps(&x->variant, WARM_STEPS);
    if (bench_pairs(block, x, to, e)) return -1;
    bench_spread(to, "step_seconds", x->seconds, x->n);
    return 0;
}

int bench_beside(const json_t *config, const json_t *baseline, const struct bench_options *o, json_t **out,
                 struct err *e)
{
    struct beside x = { .steps = o->steps };
    struct corpus *corpus;
    if (corpus_open(&corpus, "synthetic", e)) return -1;
    x.variant.corpus = x.baseline.corpus = corpus;
    int failure = bench_open(&x.variant, config, o, e) || bench_open(&x.baseline, baseline, o, e) ? -1 : 0;
    *out = json_pack("{s:i}", "steps", (int)o->steps);
    if (!failure) failure = measure(&x, *out, e);
    if (failure) json_decref(*out);
    bench_close(&x.variant);
    bench_close(&x.baseline);
    corpus_close(corpus);
    return failure;
}
