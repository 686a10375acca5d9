/* Run file, checkpoints and model files as what remains of a run. */
#include "trained.h"
#include "model_file.h"
#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool holds(const char *folder, const char *name)
{
    char *path = text_new("%s/%s", folder, name);
    bool yes = access(path, F_OK) == 0;
    free(path);
    return yes;
}

bool trained_is_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && !S_ISDIR(st.st_mode);
}

static bool is_checkpoint(const char *path) { return holds(path, "manifest.json"); }
bool trained_is_run(const char *path) { return holds(path, "run.h5"); }

/* RUN/checkpoints/step-N */
int trained_run(const char *path, char *run, size_t room, struct err *e)
{
    char *folder = xstrdup(path), *slash = strrchr(folder, 0);
    for (int up = trained_is_run(path) ? 2 : 0; up < 2 && slash; up++) {
        while ((slash = strrchr(folder, '/')) && !slash[1]) *slash = 0;
        if (slash) *slash = 0;
    }
    bool found = slash && trained_is_run(folder);
    snprintf(run, room, "%s", folder);
    free(folder);
    return found ? 0 : err_set(e, "%s: is no run, and no checkpoint in a run's folder", path);
}

static json_t *config_of_run(const char *run, struct err *e)
{
    char *path;
    struct reader *r;
    path = text_new("%s/run.h5", run);
    int failure = reader_open(&r, path, e);
    free(path);
    if (failure) return NULL;
    json_t *config = json_loads(reader_config(r), 0, NULL);
    failure = reader_result(r, e);
    reader_close(r);
    if (!config && !failure) err_set(e, "%s/run.h5: holds no configuration", run);
    return config;
}

/* A mean of checkpoints lies anywhere, and says itself. */
static json_t *config_of_checkpoint(const char *path, struct err *e)
{
    struct checkpoint c;
    json_t *extra, *config;
    char run[4096];
    if (checkpoint_look(path, &c, &extra, e)) return NULL;
    config = json_incref(json_object_get(extra, "config"));
    json_decref(extra);
    return config ? config : trained_run(path, run, sizeof run, e) ? NULL : config_of_run(run, e);
}

json_t *trained_config(const char *path, struct err *e)
{
    return trained_is_file(path) ? model_file_config(path, e)
         : is_checkpoint(path) ? config_of_checkpoint(path, e)
         : config_of_run(path, e);
}

static int load_checkpoint(const char *path, struct session *s, struct checkpoint *c, struct err *e)
{
    json_t *extra = NULL;
    int failure = checkpoint_load(path, s->leaves, s->state, c, &extra, e);
    json_decref(extra);
    return failure;
}

int trained_newest(const char *run, char *path, size_t room, struct err *e)
{
    char *dir = text_new("%s/checkpoints", run);
    int found = checkpoint_newest(dir, INT64_MAX, path, room, e);
    if (found == 0) err_set(e, "%s: holds no good checkpoint (train.keep = 0 and sluice prune leave none)", dir);
    free(dir);
    return found > 0 ? 0 : -1;
}

int trained_load(const char *path, struct session *s, struct checkpoint *c, struct err *e)
{
    char newest[4096];
    if (trained_is_file(path)) {
        *c = (struct checkpoint){ .step = 0 };
        snprintf(c->path, sizeof c->path, "%s", path);
        return model_file_read(path, s->leaves, s->state, e);
    }
    if (is_checkpoint(path)) return load_checkpoint(path, s, c, e);
    return trained_newest(path, newest, sizeof newest, e) ? -1 : load_checkpoint(newest, s, c, e);
}

void trained_average(struct session *s)
{
    for (int i = 0; i < s->leaves->n; i++) {
        const struct leaf *l = s->leaves->leaf[i], *average = leaves_average(s->leaves, l);
        if (!average) continue;
        void *values = xmalloc(leaf_bytes(l));
        state_get(s->state, average, values);
        state_put(s->state, l, values);
        free(values);
    }
}
