/* What is there already of a run, by its file. */
#include "train_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int train_say_fsck(struct err *e, const char *path)
{
    struct err why = *e;
    return err_set(e, "%s; look at it with: sluice fsck %s", why.text, path);
}

static int past_read(struct reader *r, const struct study *s, int point, const char *path, struct past *past,
                     struct err *e)
{
    char hash[33], seed[24];
    int64_t *steps, rows = reader_rows(r, STORE_TRAIN);
    hash_print(s->variant[s->point[point].variant].hash, hash);
    snprintf(seed, sizeof seed, "%lld", (long long)s->point[point].seed);
    const char *its_hash = reader_text(r, "/", "config_hash"), *its_seed = reader_text(r, "/", "seed");
    if (reader_result(r, e)) return -1;
    if (strcmp(its_hash, hash) != 0 || strcmp(its_seed, seed) != 0)
        return err_set(e, "%s: is the file of another run (configuration %s, seed %s; wanted %s, %s): move it away",
                       path, its_hash, its_seed, hash, seed);
    snprintf(past->origin.revision, sizeof past->origin.revision, "%s", reader_text(r, "/environment", "revision"));
    snprintf(past->origin.isa, sizeof past->origin.isa, "%s", reader_text(r, "/environment", "isa"));
    if (reader_result(r, e)) return -1;
    past->exists = true;
    past->status = reader_status(r);
    if (reader_steps(r, STORE_TRAIN, &steps, e)) return -1;
    past->last = rows ? steps[rows - 1] : 0;
    free(steps);
    return 0;
}

int train_past(const struct study *s, int point, struct past *past, struct err *e)
{
    char *path = study_point_path(s, point, "run.h5");
    struct reader *r = NULL;
    int failure = 0;
    *past = (struct past){ .status = STATUS_CREATED };
    if (access(path, F_OK) == 0 || errno != ENOENT) {
        failure = reader_open(&r, path, e) || past_read(r, s, point, path, past, e);
        if (failure && !past->exists) train_say_fsck(e, path);
        reader_close(r);
    }
    free(path);
    return failure ? -1 : 0;
}

bool past_over(const struct past *p, bool retry_failed)
{
    return p->status == STATUS_FINISHED || p->status == STATUS_DIVERGED ||
           (p->status == STATUS_FAILED && !retry_failed);
}
