/* What metrics and the run file cost: the same steps with a row written for each, as in training, and without. */
#define _GNU_SOURCE
#include "bench.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PAIRS = 8, LEAST_STEPS = 10 };                       /* the run file is flushed every 10 rows at the latest */

struct logging { struct bench *bench; struct store *store; int64_t steps, rows; };

/* Of one block of steps: wall clock, processor time of all threads, wall clock inside metrics and run file. */
struct spent { double wall, processor, inside; };

static int block(struct logging *l, bool with, struct spent *out, struct err *e)
{
    bench_begin(l->bench);
    double start = clock_seconds(), processor = bench_processor_seconds(), inside = 0;
    for (int64_t i = 0; i < l->steps; i++) {
        bench_step(l->bench);
        if (!with) continue;
        double before = clock_seconds();
        bench_gather(l->bench);
        if (store_append(l->store, STORE_TRAIN, ++l->rows, metrics_values(l->bench->metrics), e)) return -1;
        inside += clock_seconds() - before;
    }
    *out = (struct spent){ clock_seconds() - start, bench_processor_seconds() - processor, inside };
    return 0;
}

/* Every other pair begins with the other side: drift of the machine's speed cancels. */
static int pairs(struct logging *l, json_t *to, struct err *e)
{
    double wall[PAIRS], processor[PAIRS], inside[PAIRS];
    for (int i = 0; i < PAIRS; i++) {
        struct spent with, without;
        if (i % 2 && block(l, false, &without, e)) return -1;
        if (block(l, true, &with, e)) return -1;
        if (i % 2 == 0 && block(l, false, &without, e)) return -1;
        wall[i] = with.wall / without.wall;
        processor[i] = with.processor / without.processor;
        inside[i] = with.inside / with.wall;
    }
    bench_spread(to, "wall_ratio", wall, PAIRS);
    bench_spread(to, "processor_ratio", processor, PAIRS);
    bench_spread(to, "inside_share", inside, PAIRS);
    return 0;
}

static int measure(struct logging *l, const char *folder, const char *path, json_t *to, struct err *e)
{
    struct metrics *m = l->bench->metrics;
    struct store_plan plan = { .n_series = metrics_count(m), .series = metrics_series(m), .config_json = "{}",
                               .script_text = "", .script_path = "" };
    if (store_create(&l->store, path, &plan, e)) return -1;
    unlink(path);                                           /* it is open: whatever ends this process leaves nothing */
    rmdir(folder);
    return pairs(l, to, e) || store_close(l->store, STATUS_FINISHED, e) ? -1 : 0;
}

int bench_logging(struct bench *b, int64_t steps, json_t *to, struct err *e)
{
    const char *parent = getenv("TMPDIR");
    char *folder, *path;
    struct logging l = { .bench = b, .steps = steps < LEAST_STEPS ? LEAST_STEPS : steps };
    INVARIANT(asprintf(&folder, "%s/sluice-bench-XXXXXX", parent && *parent ? parent : "/tmp") >= 0,
              "no memory for a path");
    if (!mkdtemp(folder)) {
        err_set(e, "mkdtemp %s: %s", folder, strerror(errno));
        free(folder);
        return -1;
    }
    INVARIANT(asprintf(&path, "%s/run.h5", folder) >= 0, "no memory for a path");
    json_object_update_new(to, json_pack("{s:i, s:I, s:i, s:s}", "pairs", PAIRS, "steps", (json_int_t)l.steps,
                                         "series", metrics_count(b->metrics), "folder", folder));
    int failure = measure(&l, folder, path, to, e);
    if (failure) rmdir(folder);
    free(path);
    free(folder);
    return failure;
}
