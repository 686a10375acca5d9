/* Finding runs, and telling the living from the dead. */
#include "runs.h"
#include "metric.h"
#include "process.h"
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *condition_name(int condition)
{
    static const char *const own[] = { "pending", "dead", "unreadable" };
    return condition < STATUS_COUNT ? status_name[condition] : own[condition - STATUS_COUNT];
}

static char *text_join(const char *a, const char *between, const char *b)
{
    size_t n = strlen(a) + strlen(between) + strlen(b) + 1;
    char *out = xmalloc(n);
    snprintf(out, n, "%s%s%s", a, between, b);
    return out;
}

static bool is_file(const char *folder, const char *name)
{
    char *path = text_join(folder, "/", name);
    struct stat s;
    bool yes = stat(path, &s) == 0 && S_ISREG(s.st_mode);
    free(path);
    return yes;
}

bool runs_is_study(const char *path)
{
    return is_file(path, "study.json");
}

bool runs_is_alive(const char *run_file)
{
    char path[PATH_MAX];
    const char *slash = strrchr(run_file, '/');
    snprintf(path, sizeof path, "%.*srun.lock", slash ? (int)(slash - run_file) + 1 : 0, run_file);
    return process_is_locked(path);
}

bool runs_are_tended(const struct runs *all)
{
    bool alive = all->study && process_is_joined(all->study->dir);
    for (int i = 0; i < all->n && !alive; i++) alive = runs_is_alive(all->run[i].path);
    return alive;
}

static int64_t steps_asked(const json_t *config)
{
    return config ? json_integer_value(config_get(config, "train.steps")) : 0;
}

static void look(struct run *r)
{
    struct err e = { "" };
    if (access(r->path, F_OK)) return;
    if (reader_open(&r->reader, r->path, &e)) {
        r->reader = NULL;
        r->condition = CONDITION_UNREADABLE;
        r->problem = xstrdup(e.text);
        return;
    }
    r->condition = reader_status(r->reader);
    if ((r->condition == STATUS_RUNNING || r->condition == STATUS_CREATED) && !runs_is_alive(r->path)) r->condition = CONDITION_DEAD;
    int64_t *step = NULL, rows = reader_rows(r->reader, STORE_TRAIN);
    if (rows && reader_steps(r->reader, STORE_TRAIN, &step, &e) == 0) r->step = step[rows - 1];
    free(step);
    if (r->variant >= 0) return;
    json_t *config = json_loads(reader_config(r->reader), 0, NULL);
    r->steps = steps_asked(config);
    json_decref(config);
}

static void add_point(struct runs *all, int p)
{
    const struct study *s = all->study;
    const struct variant *v = &s->variant[s->point[p].variant];
    struct run *r = &all->run[all->n++];
    char replicate[16];
    snprintf(replicate, sizeof replicate, "%d", s->point[p].replicate);
    *r = (struct run){ .variant = s->point[p].variant, .replicate = s->point[p].replicate, .condition = CONDITION_PENDING, .steps = steps_asked(v->config) };
    r->name = text_join(v->name, "/", replicate);
    r->path = study_point_path(s, p, "run.h5");
}

static void add_lone(struct runs *all, const char *path)
{
    all->run[all->n++] = (struct run){ .variant = -1, .condition = CONDITION_PENDING, .name = xstrdup(path), .path = xstrdup(path) };
}

/* Of a full path: its folder's folder's folder, because a run file is STUDY/VARIANT-HASH8/REPLICATE/run.h5. */
static void study_of(const char *file, char out[PATH_MAX])
{
    snprintf(out, PATH_MAX, "%s", file);
    for (int i = 0; i < 3; i++) {
        char *slash = strrchr(out, '/');
        if (slash) *slash = 0;
    }
}

static int open_single(const char *file, struct runs *all, struct err *e)
{
    char full[PATH_MAX], folder[PATH_MAX], other[PATH_MAX];
    if (!realpath(file, full)) return err_set(e, "%s: %s", file, strerror(errno));
    all->run = xcalloc(1, sizeof *all->run);
    study_of(full, folder);
    if (runs_is_study(folder) && study_open(folder, &all->study, e)) return -1;
    for (int p = 0; all->study && p < all->study->n_points && !all->n; p++) {
        char *path = study_point_path(all->study, p, "run.h5");
        if (realpath(path, other) && !strcmp(full, other)) add_point(all, p);
        free(path);
    }
    if (all->n) return 0;
    if (all->study) study_free(all->study);
    all->study = NULL;
    add_lone(all, file);
    return 0;
}

static int open_study(const char *folder, struct runs *all, struct err *e)
{
    if (study_open(folder, &all->study, e)) return -1;
    all->run = xcalloc((size_t)all->study->n_points + 1, sizeof *all->run);
    for (int p = 0; p < all->study->n_points; p++) add_point(all, p);
    return 0;
}

int runs_list(const char *path, struct runs **out, struct err *e)
{
    struct runs *all = xcalloc(1, sizeof *all);
    struct stat s;
    int bad;
    if (stat(path, &s)) bad = err_set(e, "%s: %s", path, strerror(errno));
    else if (!S_ISDIR(s.st_mode)) bad = open_single(path, all, e);
    else if (runs_is_study(path)) bad = open_study(path, all, e);
    else if (is_file(path, "run.h5")) {
        char *file = text_join(path, "/", "run.h5");
        bad = open_single(file, all, e);
        free(file);
    }
    else bad = err_set(e, "%s: neither a study (study.json) nor a run (run.h5)", path);
    if (bad) runs_close(all); else *out = all;
    return bad;
}

int runs_open(const char *path, struct runs **out, struct err *e)
{
    if (runs_list(path, out, e)) return -1;
    for (int i = 0; i < (*out)->n; i++) look(&(*out)->run[i]);
    return 0;
}

void runs_close(struct runs *all)
{
    for (int i = 0; i < all->n; i++) {
        struct run *r = &all->run[i];
        if (r->reader) reader_close(r->reader);
        free(r->name);
        free(r->path);
        free(r->problem);
    }
    if (all->study) study_free(all->study);
    free(all->run);
    free(all);
}

double run_last(const struct run *r, const char *metric)
{
    struct curve c;
    struct err e;
    if (!r->reader || metric_scalar(r->reader, metric, &c, NULL, &e)) return NAN;
    double last = c.rows ? c.value[c.rows - 1] : NAN;
    curve_free(&c);
    return last;
}
