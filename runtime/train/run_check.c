/* What would fail every run alike, told once before the first: data, folder, disk, device, memory, another program's
   results. */
#include "run_private.h"
#include "base/process.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum backend_kind run_backend(const struct runner *r, int point)
{
    return variant_backend(&r->study->variant[r->study->point[point].variant]);
}

bool run_is_elsewhere(const struct runner *r, int point)
{
    char *lock = study_point_path(r->study, point, "run.lock");
    bool held = process_is_locked(lock);
    free(lock);
    return held;
}

bool run_is_over(const struct runner *r, int point)
{
    struct past past;
    struct err e;
    return train_past(r->study, point, &past, &e) == 0 && past_over(&past, false);
}

/* ---- data ---- */

/* The hash of the data that the study was made with; of an older study, from the first run file that can be read; "":
   none was begun. */
static void wanted_hash(const struct study *s, char out[33])
{
    struct err e;
    const char *recorded = json_string_value(json_object_get(s->record, "data_hash"));
    snprintf(out, 33, "%s", recorded ? recorded : "");
    for (int p = 0; p < s->n_points && !*out; p++) {
        struct reader *r = NULL;
        char *path = study_point_path(s, p, "run.h5");
        if (access(path, R_OK) == 0 && reader_open(&r, path, &e) == 0) {
            snprintf(out, 33, "%s", reader_text(r, "/data", "hash"));
            reader_close(r);
        }
        free(path);
    }
}

static bool is_of_all(const struct study *s, const struct corpus_info *data)
{
    bool all = true;
    for (int p = 0; p < s->n_points && all; p++) all = study_is_of(s, &s->point[p], data);
    return all;
}

int run_check_data(const struct study *s, const char *path, struct err *e)
{
    char wanted[33], of_hash[64] = "other data", has[33];
    struct corpus *c;
    struct err why;
    wanted_hash(s, wanted);
    if (*wanted) snprintf(of_hash, sizeof of_hash, "data of hash %s", wanted);
    if (corpus_open(&c, path, &why))
        return err_set(e, "%s\n  %s was made with %s: sluice resume %s --data FILE says where it lies now", why.text,
                       s->dir, *wanted ? of_hash : "data that lay there", s->dir);
    bool same = is_of_all(s, corpus_info(c));
    hash_print(corpus_info(c)->hash, has);
    corpus_close(c);
    if (same) return 0;
    if (strcmp(has, wanted) == 0)
        return err_set(e, "%s/study.json: a configuration in it is not the one that the study was made with; "
                       "sluice run makes it anew", s->dir);
    return err_set(e, "%s: has hash %s, %s was made with %s\n  sluice resume %s --data FILE takes that from where it "
                   "lies now; sluice run makes a study of this", path, has, s->dir, of_hash, s->dir);
}

static enum outcome check_data(const struct runner *r)
{
    struct err e;
    if (run_check_data(r->study, r->study->data_path, &e) == 0) return OUTCOME_FINISHED;
    fprintf(stderr, "sluice: %s\n", e.text);
    return OUTCOME_INPUT;
}

/* ---- folder and disk ---- */

/* One that can be written is enough to go on. */
static enum outcome check_folders(const struct runner *r)
{
    const struct study *s = r->study;
    char *refused = NULL;
    int cause = 0;
    for (int p = 0; p < s->n_points; p++) {
        char *path = study_point_path(s, p, "");
        if (!r->over_before[p] && (access(path, W_OK) == 0 || errno == ENOENT)) {
            free(path);
            free(refused);
            return OUTCOME_FINISHED;
        }
        if (r->over_before[p] || refused) { free(path); continue; }
        cause = errno;
        refused = path;
    }
    fprintf(stderr, "sluice: %s: nothing can be written here: %s\n", refused, strerror(cause));
    free(refused);
    return OUTCOME_FAILED;
}

/* Of the smallest model that is left, the weights alone. */
static enum outcome check_disk(const struct runner *r)
{
    const struct study *s = r->study;
    double least = -1;
    struct err e;
    for (int p = 0; p < s->n_points; p++) {
        double bytes = (double)sizeof(real) * (double)s->variant[s->point[p].variant].counts.total;
        if (!r->over_before[p] && (least < 0 || bytes < least)) least = bytes;
    }
    if (train_room(s->dir, least, &e) == 0) return OUTCOME_FINISHED;
    fprintf(stderr, "sluice: %s\n  make room where %s lies, then: sluice resume %s\n", e.text, s->dir, s->dir);
    return OUTCOME_DISK;
}

/* ---- memory ---- */

/* What a configuration needs is known exactly by its run alone; here only that no run at all can fit. Ranks divide
   it. */
static enum outcome check_memory(const struct runner *r)
{
    const struct study *s = r->study;
    size_t room[BACKEND_KINDS] = { 0 }, least = SIZE_MAX, had = 0;
    bool asked[BACKEND_KINDS] = { false };
    int smallest = -1;
    struct err e;
    for (int p = 0; p < s->n_points && r->ranks == 1; p++) {
        enum backend_kind kind = run_backend(r, p);
        size_t need = s->variant[s->point[p].variant].memory_bytes;
        if (r->over_before[p]) continue;
        if (!asked[kind] && backend_find(kind, &e)->probe_room(&room[kind], &e)) return OUTCOME_FINISHED;
        asked[kind] = true;
        if (need <= room[kind]) return OUTCOME_FINISHED;
        if (need >= least) continue;
        least = need;
        had = room[kind];
        smallest = p;
    }
    char name[128];
    if (smallest < 0) return OUTCOME_FINISHED;
    if (session_fits(s->variant[s->point[smallest].variant].config, had, &e) == 0) return OUTCOME_FINISHED;
    fprintf(stderr, "sluice: %s %s; no run of %s needs less\n", run_name(r, smallest, name), e.text, s->dir);
    return OUTCOME_DEVICE;
}

/* ---- ranks ---- */

/* How ranks divide a point's runs; NULL: they cannot, e says why. */
static const struct mesh *mesh_of(const struct runner *r, int point, struct err *e)
{
    int variant = r->study->point[point].variant;
    struct mesh_known *m = &r->mesh[variant];
    if (!m->known && variant_mesh(&r->study->variant[variant], r->ranks, &m->mesh, e)) return NULL;
    m->known = true;
    return &m->mesh;
}

static enum outcome check_ranks(const struct runner *r)
{
    struct err e;
    char name[128];
    for (int p = 0; p < r->study->n_points; p++) {
        if (r->over_before[p] || mesh_of(r, p, &e)) continue;
        fprintf(stderr, "sluice: %s: %s\n", run_name(r, p, name), e.text);
        return OUTCOME_SCRIPT;
    }
    return OUTCOME_FINISHED;
}

/* ---- the program and the device ---- */

/* Whether a point was computed by another program or device than would go on with the study: 1; 0: no; -1: there is no
   device, and e says what is missing. */
static int is_foreign(const struct runner *r, int point, const struct past *past, struct origin *now, struct err *e)
{
    const struct mesh *mesh = mesh_of(r, point, e);
    if (!mesh || origin_here(now, run_backend(r, point), mesh, e)) return -1;
    return past->exists && !origin_equal(&past->origin, now);
}

static void say_foreign(const struct runner *r, int point, const struct past *past, const struct origin *now)
{
    char name[128];
    fprintf(stderr, "sluice: %s of %s was computed by revision %s with %s; "
            "this is revision %s with %s, and its bits may differ\n"
            "  --mix goes on all the same; another --out begins anew\n", run_name(r, point, name), r->study->dir,
            *past->origin.revision ? past->origin.revision : "unknown",
            *past->origin.isa ? past->origin.isa : "unknown",
            now->revision, now->isa);
}

/* Numbers of two revisions or instruction sets differ in their last bits: a study must not compare them unasked. A
   device that is missing is told here too. */
static enum outcome check_origins(const struct runner *r, const struct past *past)
{
    struct origin now;
    struct err e;
    char name[128];
    int foreign = 0, p = 0;
    while (p < r->study->n_points) {
        foreign = is_foreign(r, p, &past[p], &now, &e);
        if (foreign < 0 || (foreign && !r->options->mix)) break;
        p++;
    }
    if (foreign < 0) fprintf(stderr, "sluice: %s: %s\n", run_name(r, p, name), e.text);
    else if (foreign && !r->options->mix) say_foreign(r, p, &past[p], &now);
    return foreign < 0 ? OUTCOME_DEVICE : foreign && !r->options->mix ? OUTCOME_INPUT : OUTCOME_FINISHED;
}

enum outcome run_check_other(const struct runner *r, int point)
{
    struct past past;
    struct origin now;
    struct err e;
    if (r->options->mix || train_past(r->study, point, &past, &e)) return OUTCOME_FINISHED;
    if (is_foreign(r, point, &past, &now, &e) <= 0) return OUTCOME_FINISHED;
    say_foreign(r, point, &past, &now);
    return OUTCOME_INPUT;
}

enum outcome run_check(struct runner *r)
{
    const struct study *s = r->study;
    struct past *past = xcalloc((size_t)s->n_points, sizeof *past);
    struct err e;
    int left = 0;
    for (int p = 0; p < s->n_points; p++) {
        int unreadable = train_past(s, p, &past[p], &e);    /* the run itself will say it */
        if (unreadable) past[p] = (struct past){ .exists = false };
        r->over_before[p] = !unreadable && past_over(&past[p], r->options->retry_failed);
        left += !unreadable && !r->over_before[p];
    }
    enum outcome outcome = left ? check_ranks(r) : OUTCOME_FINISHED;
    if (left && !outcome) outcome = check_origins(r, past);
    free(past);
    if (left && !outcome) outcome = check_data(r);
    if (left && !outcome && r->rank == 0) outcome = check_folders(r);
    if (left && !outcome && r->rank == 0) outcome = check_disk(r);
    return left && !outcome ? check_memory(r) : outcome;
}
