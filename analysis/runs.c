/* Finding runs, and telling the living from the dead. */
#include "runs.h"
#include "base/process.h"
#include "base/regular.h"
#include "base/text.h"
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { UNSEEN = -1 };                                       /* the condition of a run that nobody has looked at */

const char *condition_name(int condition)
{
    INVARIANT(condition != UNSEEN, "nobody has looked at a run");
    static const char *const own[] = { "pending", "dead", "unreadable" };
    return condition < STATUS_COUNT ? status_name[condition] : own[condition - STATUS_COUNT];
}

static bool holds(const char *folder, const char *name)
{
    char *path = text_new("%s/%s", folder, name);
    bool yes = access(path, F_OK) == 0;
    free(path);
    return yes;
}

bool runs_is_study(const char *path)
{
    return holds(path, "study.json");
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

/* ---- one run ---- */

static struct reader *hold(struct run *r, struct reader *reader)
{
    struct runs *all = r->all;
    if (all->reader != reader) reader_close(all->reader);
    all->open = r;
    return all->reader = reader;
}

void run_distrust(struct run *r, const char *why)
{
    hold(r, NULL);
    free(r->problem);
    r->problem = xstrdup(why);
    r->condition = CONDITION_UNREADABLE;
}

static struct reader *open_file(struct run *r)
{
    struct reader *reader;
    struct err e;
    hold(r, NULL);
    if (reader_open(&reader, r->path, &e) == 0) return hold(r, reader);
    run_distrust(r, e.text);
    return NULL;
}

static void take_facts(struct run *r, struct reader *reader)
{
    struct err e;
    int64_t *step;
    r->condition = reader_status(reader);
    if ((r->condition == STATUS_RUNNING || r->condition == STATUS_CREATED) && !runs_is_alive(r->path))
        r->condition = CONDITION_DEAD;
    r->rows = reader_rows(reader, STORE_TRAIN);
    const char *config = r->variant < 0 ? reader_config(reader) : "";
    if (reader_steps(reader, STORE_TRAIN, &step, &e)) { run_distrust(r, e.text); return; }
    if (r->rows) r->step = step[r->rows - 1];
    free(step);
    if (r->variant >= 0) return;
    json_t *json = json_loads(config, 0, NULL);
    r->steps = config_integer(json, "train.steps");
    json_decref(json);
}

bool run_look(struct run *r)
{
    struct stat s;
    if (r->condition == UNSEEN) {
        r->condition = CONDITION_PENDING;
        struct reader *reader = lstat(r->path, &s) == 0 || errno != ENOENT ? open_file(r) : NULL;
        if (reader) take_facts(r, reader);
    }
    return r->condition != CONDITION_PENDING && r->condition != CONDITION_UNREADABLE;
}

struct reader *run_reader(struct run *r)
{
    if (!run_look(r)) return NULL;
    return r->all->open == r ? r->all->reader : open_file(r);
}

static const char *trusted(struct run *r, const char *text)
{
    struct err e;
    if (reader_result(r->all->reader, &e) == 0) return text;
    run_distrust(r, e.text);
    return "";
}

const char *run_text(struct run *r, const char *group, const char *attribute)
{
    struct reader *reader = run_reader(r);
    return reader ? trusted(r, reader_text(reader, group, attribute)) : "";
}

const char *run_config(struct run *r)
{
    struct reader *reader = run_reader(r);
    return reader ? trusted(r, reader_config(reader)) : "";
}

const char *run_script(struct run *r)
{
    struct reader *reader = run_reader(r);
    return reader ? trusted(r, reader_script(reader)) : "";
}

/* ---- all runs ---- */

static void add_point(struct runs *all, int p)
{
    const struct study *s = all->study;
    const struct variant *v = &s->variant[s->point[p].variant];
    struct run *r = &all->run[all->n++];
    char replicate[16];
    snprintf(replicate, sizeof replicate, "%d", s->point[p].replicate);
    *r = (struct run){ .all = all, .variant = s->point[p].variant, .replicate = s->point[p].replicate,
                       .condition = UNSEEN, .steps = config_integer(v->config, "train.steps") };
    r->name = text_new("%s/%s", v->name, replicate);
    r->path = study_point_path(s, p, "run.h5");
}

static void add_lone(struct runs *all, const char *path)
{
    all->run[all->n++] = (struct run){ .all = all, .variant = -1, .condition = UNSEEN, .name = xstrdup(path),
                                       .path = xstrdup(path) };
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

/* Folders in a folder, by name; not links, which lead elsewhere. */
static int is_folder(const struct dirent *d)
{
    return d->d_name[0] != '.' && (d->d_type == DT_DIR || d->d_type == DT_UNKNOWN);
}

static bool is_named(const struct study *s, const char *dir)
{
    for (int p = 0; p < s->n_points; p++)
        if (!strcmp(s->point[p].dir, dir)) return true;
    return false;
}

static void add_earlier(struct runs *all, const char *folder, const char *dir)
{
    char *whole = text_new("%s/%s", folder, dir);
    if (holds(whole, "run.h5") && !is_named(all->study, dir)) {
        all->run = xrealloc(all->run, (size_t)(all->n + all->n_earlier + 1) * sizeof *all->run);
        all->run[all->n + all->n_earlier++] = (struct run){ .all = all, .variant = -1, .condition = UNSEEN,
                                                            .name = xstrdup(dir),
                                                            .path = text_new("%s/run.h5", whole) };
    }
    free(whole);
}

/* The runs of a study lie at VARIANT-HASH8/REPLICATE. */
static void find_earlier(struct runs *all, const char *folder)
{
    struct dirent **variant = NULL;
    int n = scandir(folder, &variant, is_folder, alphasort);
    for (int v = 0; v < n; free(variant[v++])) {
        struct dirent **replicate = NULL;
        char *below = text_new("%s/%s", folder, variant[v]->d_name);
        int m = scandir(below, &replicate, is_folder, alphasort);
        for (int k = 0; k < m; free(replicate[k++])) {
            char *dir = text_new("%s/%s", variant[v]->d_name, replicate[k]->d_name);
            add_earlier(all, folder, dir);
            free(dir);
        }
        free(replicate);
        free(below);
    }
    free(variant);
}

static int open_study(const char *folder, struct runs *all, struct err *e)
{
    if (study_open(folder, &all->study, e)) return -1;
    all->run = xcalloc((size_t)all->study->n_points + 1, sizeof *all->run);
    for (int p = 0; p < all->study->n_points; p++) add_point(all, p);
    find_earlier(all, folder);
    return 0;
}

int runs_open(const char *path, struct runs **out, struct err *e)
{
    struct runs *all = xcalloc(1, sizeof *all);
    struct stat s;
    int bad;
    if (stat(path, &s)) bad = err_set(e, "%s: %s", path, strerror(errno));
    else if (!S_ISDIR(s.st_mode)) bad = open_single(path, all, e);
    else if (runs_is_study(path)) bad = open_study(path, all, e);
    else if (holds(path, "run.h5")) {
        char *file = text_new("%s/run.h5", path);
        bad = open_single(file, all, e);
        free(file);
    }
    else bad = err_set(e, "%s: neither a study (study.json) nor a run (run.h5)", path);
    if (bad) runs_close(all); else *out = all;
    return bad;
}

void runs_add_earlier(struct runs *all)
{
    all->n += all->n_earlier;
    all->n_earlier = 0;
}

struct run *runs_choose(const struct runs *all, const char *variant, int replicate, struct err *e)
{
    const struct study *s = all->study;
    if (!s && variant) {
        err_set(e, "%s: is one run, and --variant chooses among those of a study", all->run[0].path);
        return NULL;
    }
    if (!s || (all->n == 1 && !variant && replicate == 0)) return &all->run[0];
    for (int i = 0; i < all->n; i++) {
        struct run *r = &all->run[i];
        bool named = r->variant >= 0 && (variant ? !strcmp(s->variant[r->variant].name, variant)
                                                 : r->variant == s->baseline);
        if (named && r->replicate == replicate) return r;
    }
    err_set(e, "no run of variant '%s' with replicate %d", variant ? variant : s->variant[s->baseline].name, replicate);
    return NULL;
}

void runs_close(struct runs *all)
{
    reader_close(all->reader);
    for (int i = 0; i < all->n + all->n_earlier; i++) {
        struct run *r = &all->run[i];
        free(r->name);
        free(r->path);
        free(r->problem);
    }
    if (all->study) study_free(all->study);
    free(all->run);
    free(all);
}
