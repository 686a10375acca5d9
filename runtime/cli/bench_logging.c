/* What metrics and the run file cost: the same steps with a row written for each, as in training, and without. */
#include "bench.h"
#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LEAST_STEPS = 10 };                                  /* the run file is flushed every 10 rows at the latest */

/* inside: of each block with them, the share of wall clock spent in metrics and run file. */
struct logging { struct bench *bench; struct store *store; int64_t steps, rows; double inside[BENCH_PAIRS]; int n; };

static int block(void *context, bool with, struct bench_spent *out, struct err *e)
{
    struct logging *l = context;
    bench_begin(l->bench);
    struct bench_spent start = bench_clock();
    double inside = 0;
    for (int64_t i = 0; i < l->steps; i++) {
        bench_step(l->bench);
        if (!with) continue;
        double before = clock_seconds();
        bench_gather(l->bench);
        if (store_append(l->store, STORE_TRAIN, ++l->rows, metrics_values(l->bench->metrics), e)) return -1;
        inside += clock_seconds() - before;
    }
    *out = bench_since(start);
    if (with) l->inside[l->n++] = inside / out->wall;
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
    if (bench_pairs(block, l, to, e)) return -1;
    bench_spread(to, "inside_share", l->inside, l->n);
    return store_close(l->store, STATUS_FINISHED, e);
}

int bench_logging(struct bench *b, int64_t steps, json_t *to, struct err *e)
{
    const char *parent = getenv("TMPDIR");
    char *folder, *path;
    struct logging l = { .bench = b, .steps = steps < LEAST_STEPS ? LEAST_STEPS : steps };
    folder = text_new("%s/sluice-bench-XXXXXX", parent && *parent ? parent : "/tmp");
    if (!mkdtemp(folder)) {
        err_set(e, "mkdtemp %s: %s", folder, strerror(errno));
        free(folder);
        return -1;
    }
    path = text_new("%s/run.h5", folder);
    json_object_update_new(to, json_pack("{s:I, s:i, s:s}", "steps", (json_int_t)l.steps, "series",
                                         metrics_count(b->metrics), "folder", folder));
    int failure = measure(&l, folder, path, to, e);
    if (failure) rmdir(folder);
    free(path);
    free(folder);
    return failure;
}
