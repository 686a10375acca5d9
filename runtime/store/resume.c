/* Going on with a run file. */
#include "private.h"
#include <string.h>

/* The file's series must be the plan's: same names, types and dimensions, none missing and none more. */
static int compare_series(const char *path, const struct store_plan *plan, struct err *e)
{
    struct reader *r;
    if (reader_open(&r, path, e) < 0) return -1;
    const char *config = reader_config(r);
    int status = reader_result(r, e);
    if (!status && strcmp(config, plan->config_json))
        status = err_set(e, "%s: was made with another configuration", path);
    for (int i = 0; i < plan->n_series && !status; i++) {
        const struct series *p = &plan->series[i];
        const struct reader_series *f = reader_find(r, p->group, p->name);
        if (!f) status = err_set(e, "%s: has no series %s/%s", path, store_group_name[p->group], p->name);
        else if (f->type != p->type || f->rank != p->rank || memcmp(f->dim, p->dim, (size_t)p->rank * sizeof *p->dim))
            status = err_set(e, "%s: %s/%s has another type or other dimensions", path, store_group_name[p->group],
                             p->name);
    }
    if (!status && reader_series_count(r) != plan->n_series)
        status = err_set(e, "%s: has %d series, the plan has %d", path, reader_series_count(r), plan->n_series);
    reader_close(r);
    return status;
}

/* Cutting is the repair's; a series that is longer or shorter than `step` in a closed file is no work of ours. */
static void check_lengths(struct store *s)
{
    for (int g = 0; g < STORE_GROUPS; g++)
        for (int i = 0; i < s->metrics[g].n && !s->failed; i++) {
            struct column *c = &s->metrics[g].column[i];
            if (rows_of(c->data) != s->metrics[g].committed)
                store_broken(s, c->name, "resume", (struct h5_cause){ 0, "its length differs from `step`; run sluice "
                                                                         "fsck --repair" });
        }
}

int store_mend(const char *path, struct err *e)
{
    bool died;
    int64_t cut_rows;
    h5_begin();
    if (superblock_check(path, &died, e) < 0 || (died && store_check(path, e) < 0)) return -1;
    return died ? repair_file(path, INT64_MAX, &cut_rows, e) : 0;
}

int store_rewind(const char *path, int64_t step, struct err *e)
{
    int64_t cut_rows;
    h5_begin();
    return store_check(path, e) ? -1 : repair_file(path, step, &cut_rows, e);
}

int store_resume(struct store **out, const char *path, const struct store_plan *plan, struct err *e)
{
    bool died;
    int64_t cut_rows = 0;
    *out = NULL;
    h5_begin();
    if (superblock_check(path, &died, e) < 0 || store_check(path, e) < 0 || compare_series(path, plan, e) < 0)
        return -1;
    if (died && repair_file(path, INT64_MAX, &cut_rows, e) < 0) return -1;
    struct store *s = store_new(path, plan);
    s->file = H5(s, "", H5Fopen(path, H5F_ACC_RDWR | H5F_ACC_SWMR_WRITE, h5_access()));
    s->live = true;
    store_attach(s);
    check_lengths(s);
    attempt_begin(s, cut_rows);
    store_commit(s);
    int status = store_result(s, e);
    if (status < 0) store_free(s);
    else *out = s;
    return status;
}
