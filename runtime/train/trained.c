/* Run file and checkpoints as what remains of a run. */
#define _GNU_SOURCE
#include "trained.h"

#include <stdio.h>
#include <stdlib.h>

json_t *trained_config(const char *run, struct err *e)
{
    char *path;
    struct reader *r;
    INVARIANT(asprintf(&path, "%s/run.h5", run) >= 0, "no memory for a path");
    int failure = reader_open(&r, path, e);
    free(path);
    if (failure) return NULL;
    json_t *config = json_loads(reader_config(r), 0, NULL);
    failure = reader_result(r, e);
    reader_close(r);
    if (!config && !failure) err_set(e, "%s/run.h5: holds no configuration", run);
    return config;
}

int trained_load(const char *run, const char *checkpoint, struct session *s, struct checkpoint *c, struct err *e)
{
    char *dir, path[4096];
    json_t *extra = NULL;
    INVARIANT(asprintf(&dir, "%s/checkpoints", run) >= 0, "no memory for a path");
    int found = checkpoint ? snprintf(path, sizeof path, "%s", checkpoint)
                           : checkpoint_newest(dir, INT64_MAX, path, sizeof path, e);
    if (found == 0) err_set(e, "%s: holds no good checkpoint (train.keep = 0 and sluice prune leave none)", dir);
    free(dir);
    if (found <= 0) return -1;
    int failure = checkpoint_load(path, s->leaves, s->state, c, &extra, e);
    json_decref(extra);
    return failure;
}
