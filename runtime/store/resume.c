/* Going on with a run file, and holding replayed rows against the committed ones. */
#include "private.h"
#include <math.h>
#include <string.h>

/* The file's series must be the plan's: same names, types and dimensions, none missing and none more. */
static int compare_series(const char *path, const struct store_plan *plan, struct err *e)
{
    struct reader *r;
    if (reader_open(&r, path, e) < 0) return -1;
    const char *config = reader_config(r);
    int status = reader_result(r, e);
    if (!status && strcmp(config, plan->config_json)) status = err_set(e, "%s: was made with another configuration", path);
    for (int i = 0; i < plan->n_series && !status; i++) {
        const struct series *p = &plan->series[i];
        const struct reader_series *f = reader_find(r, p->group, p->name);
        if (!f) status = err_set(e, "%s: has no series %s/%s", path, store_group_name[p->group], p->name);
        else if (f->type != p->type || f->rank != p->rank || memcmp(f->dim, p->dim, (size_t)p->rank * sizeof *p->dim))
            status = err_set(e, "%s: %s/%s has another type or other dimensions", path, store_group_name[p->group], p->name);
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
                store_broken(s, c->name, "resume", (struct h5_cause){ 0, "its length differs from `step`; run sluice fsck --repair" });
        }
}

int store_mend(const char *path, struct err *e)
{
    bool died;
    int64_t cut_rows;
    h5_begin();
    if (superblock_check(path, &died, e) < 0 || (died && store_check(path, e) < 0)) return -1;
    return died ? store_repair(path, &cut_rows, e) : 0;
}

int store_resume(struct store **out, const char *path, const struct store_plan *plan, struct err *e)
{
    bool died;
    int64_t cut_rows = 0;
    *out = NULL;
    h5_begin();
    if (superblock_check(path, &died, e) < 0 || store_check(path, e) < 0 || compare_series(path, plan, e) < 0)
        return -1;
    if (died && store_repair(path, &cut_rows, e) < 0) return -1;
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

static double stored_value(enum store_type type, const char *at)
{
    switch (type) {
    case STORE_F64: return *(const double *)at;
    case STORE_F32: return *(const float *)at;
    case STORE_I64: return (double)*(const int64_t *)at;
    case STORE_U32: return *(const uint32_t *)at;
    case STORE_U8:  return *(const uint8_t *)at;
    }
    return NAN;
}

static int64_t find_step(const struct metrics *m, int64_t step)
{
    int64_t low = 0, high = m->committed;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (m->step[middle] < step) low = middle + 1;
        else high = middle;
    }
    return low < m->committed && m->step[low] == step ? low : -1;
}

/* A replayed row must be the committed one, bit for bit as stored. */
int store_replay(struct store *s, enum store_group group, int64_t step, const double *const *value, struct err *e)
{
    struct metrics *m = &s->metrics[group];
    int64_t row = find_step(m, step);
    if (row < 0) {
        s->mismatch = true;
        return err_set(e, "%s: %s: step %lld was not among the committed ones", s->path, store_group_name[group], (long long)step);
    }
    for (int i = 0; i < m->n; i++) {
        struct column *c = &m->column[i];
        size_t size = c->bytes / c->count;
        if (c->is_volatile) continue;
        H5(s, c->name, rows_read(c->data, store_number(c->type).memory, row, 1, c->pending));
        for (size_t k = 0; k < c->count && !s->failed; k++) {
            char now[8];
            if (store_convert(c->type, value[i][k], now) && !memcmp(now, c->pending + k * size, size)) continue;
            s->mismatch = true;
            return err_set(e, "%s: %s/%s[%zu] at step %lld was %.17g, the replay gives %.17g", s->path, store_group_name[group], c->name, k,
                           (long long)step, stored_value(c->type, c->pending + k * size), value[i][k]);
        }
    }
    return store_result(s, e);
}
