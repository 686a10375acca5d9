/* Where a run begins that another has begun for it: at the farthest checkpoint, of any run in its study's folder, of a
   step up to which both are the same. State, what the loop remembers and rows are taken over as they are. */
#include "trunk.h"
#include "base/process.h"
#include "base/text.h"
#include "trained.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ROWS_AT_ONCE = 64, PATIENCE = 50 };      /* tries of a lock, each of which waits for a moment */

static char *checkpoints_of(const struct study *s, int point) { return study_point_path(s, point, "checkpoints"); }

/* The newest step up to `most` that a folder has a checkpoint of, whole or not; -1: none. */
static int64_t newest_in(const char *dir, int64_t most)
{
    struct checkpoint *list;
    struct err ignored;
    int n = checkpoint_list(dir, &list, &ignored);
    int64_t step = -1;
    for (int i = 0; i < n; i++) if (list[i].step <= most) step = list[i].step;
    if (n >= 0) free(list);
    return step;
}

/* ---- what runs that wait need ---- */

/* Whether one begins with what another is after a step: it goes on with that, or starts with its weights. */
static bool begins_there(const struct point *p, int other, int64_t step)
{
    return (p->shared > 0 && p->trunk == other && p->shared == step) || (p->start == other && p->start_step == step);
}

static bool has_begun(const struct study *s, int point)
{
    struct past past;
    struct err ignored;
    char *dir = checkpoints_of(s, point);
    bool begun = newest_in(dir, INT64_MAX) >= s->point[point].shared ||
                 (train_past(s, point, &past, &ignored) == 0 && past_over(&past, true));
    free(dir);
    return begun;
}

bool trunk_is_there(const struct study *s, int point)
{
    const struct point *p = &s->point[point];
    if (p->start >= 0) {
        char *start = checkpoints_of(s, p->start), *own = checkpoints_of(s, point);
        bool there = newest_in(start, p->start_step) == p->start_step || newest_in(own, INT64_MAX) >= 0;
        free(start);
        free(own);
        if (!there) return false;
    }
    if (p->shared == 0) return true;
    char *trunk = checkpoints_of(s, p->trunk), *own = checkpoints_of(s, point);
    bool there = newest_in(trunk, p->shared) == p->shared || newest_in(own, INT64_MAX) >= p->shared;
    free(trunk);
    free(own);
    return there;
}

bool trunk_is_left(const struct study *s, int point, int64_t step)
{
    for (int p = point + 1; p < s->n_points; p++)
        if (begins_there(&s->point[p], point, step)) return true;
    return false;
}

struct held trunk_held(const struct study *s, int point)
{
    struct held held = { 0, xcalloc(2 * (size_t)s->n_points + 1, sizeof *held.step) };
    for (int i = point + 1; i < s->n_points; i++) {
        const struct point *p = &s->point[i];
        bool goes_on = p->shared > 0 && p->trunk == point, starts = p->start == point;
        if ((!goes_on && !starts) || has_begun(s, i)) continue;
        if (goes_on) held.step[held.n++] = p->shared;
        if (starts) held.step[held.n++] = p->start_step;
    }
    return held;
}

void trunk_prune(const struct study *s, int point, int keep)
{
    char *dir = checkpoints_of(s, point);
    struct held held = trunk_held(s, point);
    checkpoint_prune(dir, INT64_MAX, keep, &held);
    free(held.step);
    free(dir);
}

/* A trunk prunes its own, last when its file says that it is over: what has begun by then it sees. From then on who
   begins does, one after the other. */
static void release(const struct study *s, int trunk)
{
    struct past past;
    struct err ignored;
    char *path = study_point_path(s, trunk, "run.lock");
    bool over = train_past(s, trunk, &past, &ignored) == 0 && past_over(&past, true);
    int lock = process_lock(path);
    for (int i = 0; lock < 0 && over && i < PATIENCE; i++) lock = process_lock(path);
    free(path);
    if (lock < 0) return;
    int64_t keep = config_integer(s->variant[s->point[trunk].variant].config, "train.keep");
    if (over) trunk_prune(s, trunk, (int)keep);
    close(lock);
}

void trunk_release(const struct study *s, int point)
{
    const struct point *p = &s->point[point];
    if (p->shared > 0) release(s, p->trunk);
    if (p->start >= 0) release(s, p->start);
}

/* ---- looking ---- */

/* The configuration of a variant that the study has; NULL: the folder is an earlier run's. */
static json_t *config_of_variant(const struct study *s, const char *folder)
{
    for (int p = 0; p < s->n_points; p++) {
        size_t length = strcspn(s->point[p].dir, "/");
        if (strlen(folder) == length && strncmp(s->point[p].dir, folder, length) == 0)
            return json_incref(s->variant[s->point[p].variant].config);
    }
    return NULL;
}

/* Of the same data and seed, and computed here. */
static bool is_of(const struct trunk *trunk, struct reader *r, const struct trunk_wanted *w)
{
    char seed[24], data[33];
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)w->point->seed);
    hash_print(w->data->hash, data);
    bool here = w->any_origin || (strcmp(reader_text(r, "/environment", "revision"), w->origin.revision) == 0 &&
                                  strcmp(reader_text(r, "/environment", "isa"), w->origin.isa) == 0);
    struct err ignored;
    return here && strcmp(reader_text(r, "/", "seed"), seed) == 0 &&
           strcmp(reader_text(r, "/data", "hash"), data) == 0 && reader_rows(r, STORE_TRAIN) >= trunk->step &&
           reader_result(r, &ignored) == 0;
}

/* The run in a folder, where it can be begun with. */
static void take_farther(struct trunk *best, const struct trunk_wanted *w, const char *name, int64_t step)
{
    struct trunk found = { .step = step };
    struct reader *r;
    struct err ignored, why;
    snprintf(found.dir, sizeof found.dir, "%s/%d", name, w->point->replicate);
    char *run = text_new("%s/%s", w->study->dir, found.dir), *path = text_new("%s/run.h5", run),
         *checkpoint = checkpoint_path(run, step);
    snprintf(found.checkpoint, sizeof found.checkpoint, "%s", checkpoint);
    free(checkpoint);
    free(run);
    if (reader_open(&r, path, &ignored) == 0) {
        snprintf(found.config_hash, sizeof found.config_hash, "%s", reader_text(r, "/", "config_hash"));
        if (is_of(&found, r, w)) {
            if (checkpoint_verify(found.checkpoint, &why) == 0) *best = found;
            else fprintf(stderr, "%s; passed over\n", why.text);
        }
        reader_close(r);
    }
    free(path);
}

static void look_at(struct trunk *best, const struct trunk_wanted *w, const char *name)
{
    struct err ignored;
    char *run, *checkpoints;
    run = text_new("%s/%s/%d", w->study->dir, name, w->point->replicate);
    checkpoints = checkpoint_folder(run);
    bool farther = newest_in(checkpoints, INT64_MAX) > best->step;
    json_t *named = config_of_variant(w->study, name),
           *config = named ? named : farther || w->is_new ? trained_config(run, &ignored) : NULL;
    int64_t alike = -1, shared = config ? study_shared(w->config, config, &alike) : 0,
            step = newest_in(checkpoints, shared);
    if (step > best->step) take_farther(best, w, name, step);
    else if (alike >= 0 && !named && config_integer(config, "train.steps") < config_integer(w->config, "train.steps")) {
        snprintf(best->earlier, sizeof best->earlier, "%s/%d", name, w->point->replicate);
        best->alike = alike;
    }
    json_decref(config);
    free(run);
    free(checkpoints);
}

void trunk_find(struct trunk *out, const struct trunk_wanted *w, int64_t beyond)
{
    size_t own = strcspn(w->point->dir, "/");
    *out = (struct trunk){ .step = beyond };
    DIR *d = opendir(w->study->dir);
    for (struct dirent *f; d && (f = readdir(d)); )
        if (*f->d_name != '.' && (strlen(f->d_name) != own || strncmp(f->d_name, w->point->dir, own) != 0))
            look_at(out, w, f->d_name);
    if (d) closedir(d);
}

/* ---- rows ---- */

static int copy_some(struct store *to, struct reader *r, enum store_group group, const struct series *const *series,
                     int n, const int64_t *step, int64_t first, int64_t rows, struct err *e)
{
    double **values = xcalloc((size_t)n, sizeof *values);
    const double **row = xcalloc((size_t)n, sizeof *row);
    int failure = 0;
    for (int i = 0; i < n && !failure; i++) {
        const struct reader_series *from = reader_find(r, group, series[i]->name);
        failure = from ? reader_read_rows(r, from, first, rows, &values[i], e)
                       : err_set(e, "the run that it begins with has no series %s", series[i]->name);
    }
    for (int64_t k = 0; k < rows && !failure; k++) {
        for (int i = 0; i < n; i++) row[i] = values[i] + k * series_count(series[i]);
        failure = store_append(to, group, step[first + k], row, e);
    }
    for (int i = 0; i < n; i++) free(values[i]);
    free(values);
    free(row);
    return failure;
}

static int copy_group(struct store *to, struct reader *r, const struct metrics *m, enum store_group group, int64_t end,
                      struct err *e)
{
    int n = metrics_count(m), failure;
    const struct series **series = xcalloc((size_t)n, sizeof *series);
    int64_t *step = NULL, rows = 0, all = reader_rows(r, group);
    for (int i = 0; i < n; i++) series[i] = &metrics_series(m)[i];
    failure = reader_steps(r, group, &step, e);
    while (!failure && rows < all && step[rows] < end) rows++;
    for (int64_t at = 0; at < rows && !failure; at += ROWS_AT_ONCE)
        failure = copy_some(to, r, group, series, n, step, at, rows - at < ROWS_AT_ONCE ? rows - at : ROWS_AT_ONCE, e);
    free(series);
    free(step);
    return failure;
}

/* The evaluation after the last of the steps is made anew: what it goes by may differ already. */
int trunk_rows(const struct trunk *trunk, const struct study *s, struct store *to, const struct metrics *train,
               const struct metrics *eval, struct err *e)
{
    struct reader *r;
    char *path = text_new("%s/%s/run.h5", s->dir, trunk->dir);
    int failure = reader_open(&r, path, e);
    free(path);
    if (failure) return -1;
    failure = copy_group(to, r, train, STORE_TRAIN, trunk->step + 1, e) ||
              copy_group(to, r, eval, STORE_EVAL, trunk->step, e);
    reader_close(r);
    return failure ? -1 : 0;
}
