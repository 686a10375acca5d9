/* Finding runs, and telling the living from the dead. */
#include "runs.h"
#include "metric.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
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

/* The writer holds an exclusive lock on run.lock; the kernel drops it with the process, however that ends. A shared
   lock is asked for, and given back at once. */
static bool is_alive(const char *run_file)
{
    char path[PATH_MAX];
    const char *slash = strrchr(run_file, '/');
    snprintf(path, sizeof path, "%.*srun.lock", slash ? (int)(slash - run_file) + 1 : 0, run_file);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return false;
    bool held = flock(file, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    close(file);
    return held;
}

static void look(struct run *r)
{
    struct err e = { "" };
    r->condition = CONDITION_PENDING;
    if (access(r->path, F_OK)) return;
    if (reader_open(&r->reader, r->path, &e)) {
        r->reader = NULL;
        r->condition = CONDITION_UNREADABLE;
        r->problem = xstrdup(e.text);
        return;
    }
    r->condition = reader_status(r->reader);
    if ((r->condition == STATUS_RUNNING || r->condition == STATUS_CREATED) && !is_alive(r->path)) r->condition = CONDITION_DEAD;
    int64_t *step = NULL, rows = reader_rows(r->reader, STORE_TRAIN);
    if (rows && reader_steps(r->reader, STORE_TRAIN, &step, &e) == 0) r->step = step[rows - 1];
    free(step);
}

static void add_point(struct runs *all, int p)
{
    const struct study *s = all->study;
    const struct variant *v = &s->variant[s->point[p].variant];
    struct run *r = &all->run[all->n++];
    char replicate[16];
    snprintf(replicate, sizeof replicate, "%d", s->point[p].replicate);
    *r = (struct run){ .variant = s->point[p].variant, .replicate = s->point[p].replicate };
    r->name = text_join(v->name, "/", replicate);
    r->path = study_point_path(s, p, "run.h5");
    json_t *steps = config_get(v->config, "train.steps");
    r->steps = steps ? json_integer_value(steps) : 0;
    look(r);
}

static void add_lone(struct runs *all, const char *path)
{
    struct run *r = &all->run[all->n++];
    *r = (struct run){ .variant = -1, .name = xstrdup(path), .path = xstrdup(path) };
    look(r);
    json_t *config = r->reader ? json_loads(reader_config(r->reader), 0, NULL) : NULL, *steps = config ? config_get(config, "train.steps") : NULL;
    r->steps = steps ? json_integer_value(steps) : 0;
    json_decref(config);
}

/* A run's folder is STUDY/VARIANT-HASH8/REPLICATE. */
static int open_single(const char *file, struct runs *all, struct err *e)
{
    char full[PATH_MAX], other[PATH_MAX], up[PATH_MAX + 16];
    all->run = xcalloc(1, sizeof *all->run);
    if (!realpath(file, full)) return err_set(e, "%s: %s", file, strerror(errno));
    snprintf(up, sizeof up, "%s/../../..", full);
    if (realpath(up, other) || true) {
        char *cut = full;
        snprintf(up, sizeof up, "%s", full);
        for (int i = 0; i < 3 && (cut = strrchr(up, '/')); i++) *cut = 0;
    }
    if (runs_is_study(up)) {
        if (study_open(up, &all->study, e)) return -1;
        for (int p = 0; p < all->study->n_points; p++) {
            char *path = study_point_path(all->study, p, "run.h5");
            bool same = realpath(path, other) && !strcmp(full, other);
            free(path);
            if (same) { add_point(all, p); return 0; }
        }
        study_free(all->study);
        all->study = NULL;
    }
    add_lone(all, file);
    return 0;
}
