/* Run file, checkpoints and model files as what remains of a run. */
#include "trained.h"
#include "model_file.h"
#include "safetensors.h"
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

bool trained_is_run(const char *path) { return holds(path, "run.h5"); }

/* Cuts the last name off, and slashes behind it; where there is none nothing is left. */
static void to_parent(char *path)
{
    size_t n = strlen(path);
    while (n && path[n - 1] == '/') n--;
    while (n && path[n - 1] != '/') n--;
    path[n ? n - 1 : 0] = 0;
}

/* RUN/checkpoints/step-N */
int trained_run(const char *path, char *run, size_t room, struct err *e)
{
    snprintf(run, room, "%s", path);
    for (int up = trained_is_run(path) ? 2 : 0; up < 2; up++) to_parent(run);
    return *run && trained_is_run(run) ? 0 : err_set(e, "%s: is no run, and no checkpoint in a run's folder", path);
}

static json_t *config_of_run(const char *run, struct err *e)
{
    char *path = text_new("%s/run.h5", run);
    struct reader *r;
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
    struct safetensors *tensors;
    json_t *trainer_state, *config;
    char run[4096];
    if (checkpoint_open(path, &tensors, &c, &trainer_state, e)) return NULL;
    config = json_incref(json_object_get(trainer_state, "config"));
    json_decref(trainer_state);
    safetensors_close(tensors);
    return config ? config : trained_run(path, run, sizeof run, e) ? NULL : config_of_run(run, e);
}

json_t *trained_config(const char *path, struct err *e)
{
    return trained_is_file(path) ? model_file_config(path, e)
         : checkpoint_is(path) ? config_of_checkpoint(path, e)
         : config_of_run(path, e);
}

static int load_checkpoint(const char *path, struct session *s, struct checkpoint *c, struct err *e)
{
    json_t *trainer_state = NULL;
    int failure = checkpoint_load(path, s->leaves, s->state, c, &trainer_state, e);
    json_decref(trainer_state);
    return failure;
}

int trained_newest(const char *run, char *path, size_t room, struct err *e)
{
    char *dir = checkpoint_folder(run);
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
    if (checkpoint_is(path)) return load_checkpoint(path, s, c, e);
    return trained_newest(path, newest, sizeof newest, e) ? -1 : load_checkpoint(newest, s, c, e);
}

int trained_open(const char *path, struct safetensors **tensors, struct checkpoint *c, json_t **trainer_state,
                 struct err *e)
{
    char newest[4096];
    *trainer_state = NULL;
    if (trained_is_run(path)) {
        if (trained_newest(path, newest, sizeof newest, e)) return -1;
        path = newest;
    }
    if (!trained_is_file(path)) return checkpoint_open(path, tensors, c, trainer_state, e);
    *c = (struct checkpoint){ .step = 0 };
    snprintf(c->path, sizeof c->path, "%s", path);
    if (safetensors_open(tensors, path, e)) return -1;
    if (!safetensors_is_part(*tensors)) return 0;
    safetensors_close(*tensors);
    *tensors = NULL;
    return err_set(e, "%s: holds pieces of a checkpoint's tensors, whose others lie beside it: name the folder", path);
}

int trained_data(const char *path, const char *hash, struct corpus **out, struct err *e)
{
    char has[33];
    if (corpus_open(out, path, e)) {
        struct err why = *e;
        return err_set(e, "%s\n  --data FILE says where the run's data lies now; its hash is %s", why.text, hash);
    }
    hash_print(corpus_info(*out)->hash, has);
    if (strcmp(has, hash) == 0) return 0;
    err_set(e, "%s: has hash %s, the run was trained on data of hash %s\n  --data FILE says where that lies now",
            corpus_info(*out)->path, has, hash);
    corpus_close(*out);
    *out = NULL;
    return -1;
}
