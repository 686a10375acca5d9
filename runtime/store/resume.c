/* Going on with a run file: mending what a killed writer left, and holding replayed rows against the committed ones. */
#include "private.h"
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Superblock version 3: signature, version, sizes of offsets and lengths, flags (bit 0: open for writing). */
int superblock_check(const char *path, bool *left_open, struct err *e)
{
    static const unsigned char signature[8] = "\x89HDF\r\n\x1a\n";
    unsigned char head[48];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return err_set(e, "%s: %s", path, strerror(errno));
    ssize_t n = read(fd, head, sizeof head);
    close(fd);
    if (n < (ssize_t)sizeof head || memcmp(head, signature, sizeof signature)) return err_set(e, "%s: not a run file (no HDF5 signature)", path);
    if (head[8] != 3 || head[9] != 8 || head[10] != 8)
        return err_set(e, "%s: not a run file (HDF5 superblock version %d, run files have 3)", path, head[8]);
    *left_open = head[11] & 1;
    return 0;
}

static int copy_file(const char *from, const char *to)
{
    int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    char *block = xmalloc(1 << 20);
    ssize_t n = in < 0 || out < 0 ? -1 : 1;
    while (n > 0 && (n = read(in, block, 1 << 20)) > 0)
        for (ssize_t done = 0, k; done < n; done += k)
            if ((k = write(out, block + done, (size_t)(n - done))) < 0) { n = -1; break; }
    free(block);
    int cause = errno;
    if (in >= 0) close(in);
    if (out >= 0 && close(out) < 0) n = -1;
    errno = cause;
    return n < 0 ? -1 : 0;
}

struct cut { hid_t group; int64_t rows, most; bool failed; };

static herr_t cut_dataset(hid_t group, const char *name, const H5L_info_t *info, void *state)
{
    struct cut *c = state;
    (void)info;
    hid_t data = H5Dopen2(group, name, H5P_DEFAULT), space = H5Dget_space(data);
    hsize_t dim[H5S_MAX_RANK], most[H5S_MAX_RANK];
    if (H5Sget_simple_extent_dims(space, dim, most) < 1) c->failed = true;
    else if (most[0] == H5S_UNLIMITED && (int64_t)dim[0] > c->rows) {
        if ((int64_t)dim[0] - c->rows > c->most) c->most = (int64_t)dim[0] - c->rows;
        dim[0] = (hsize_t)c->rows;
        if (H5Dset_extent(data, dim) < 0) c->failed = true;
    }
    H5Sclose(space);
    if (H5Dclose(data) < 0) c->failed = true;
    return 0;
}

/* Every series to the length of the committed steps; returns the most rows cut from one, or -1. */
static int64_t cut_group(hid_t file, const char *path)
{
    struct cut c = { H5Gopen2(file, path, H5P_DEFAULT), 0, 0, false };
    hid_t step = H5Dopen2(c.group, "step", H5P_DEFAULT);
    c.rows = rows_committed(step);
    H5Dclose(step);
    if (c.rows < 0 || H5Literate(c.group, H5_INDEX_NAME, H5_ITER_NATIVE, NULL, cut_dataset, &c) < 0) c.failed = true;
    H5Gclose(c.group);
    return c.failed ? -1 : c.most;
}

/* A dead writer's superblock says that it is open and gives a stale end of file. The flags must be cleared and the
   end moved to the real one (rounded up to a page) before anything is closed, else closing truncates the data: that is
   what h5clear -s does. */
static int mend(const char *path, int64_t *cut_rows)
{
    hid_t how = H5Pcopy(h5_access());
    H5Pset(how, "clear_status_flags", &(hbool_t){ true });
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, how);
    H5Pclose(how);
    hsize_t end;
    if (file < 0 || H5Fget_filesize(file, &end) < 0 || H5Fincrement_filesize(file, (PAGE - end % PAGE) % PAGE) < 0) return -1;
    for (int g = 0; g < STORE_GROUPS; g++) {
        int64_t cut = cut_group(file, store_group_path[g]);
        if (cut < 0) return -1;
        if (cut > *cut_rows) *cut_rows = cut;
    }
    return H5Fclose(file) < 0 ? -1 : 0;
}

static int sync_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), status = fd < 0 ? -1 : fsync(fd);
    if (fd >= 0) close(fd);
    return status;
}

int store_repair(const char *path, int64_t *cut_rows, struct err *e)
{
    char *copy = temporary_path(path);
    int status = 0;
    *cut_rows = 0;
    unlink(copy);
    if (copy_file(path, copy) < 0) status = err_set(e, "%s: cannot copy it to mend it: %s", path, strerror(errno));
    else if (mend(copy, cut_rows) < 0) status = err_set(e, "%s: cannot be mended: %s", path, h5_cause().text);
    else if (sync_file(copy) < 0 || rename(copy, path) < 0 || sync_folder_of(path) < 0)
        status = err_set(e, "%s: the mended copy cannot take its place: %s", path, strerror(errno));
    if (status < 0) unlink(copy);
    free(copy);
    return status;
}

/* The file's series must be the plan's: same names, types and dimensions, none missing and none more. */
static int compare_series(const char *path, const struct store_plan *plan, struct err *e)
{
    struct reader *r;
    if (reader_open(&r, path, e) < 0) return -1;
    int status = 0;
    if (strcmp(reader_config(r), plan->config_json)) status = err_set(e, "%s: was made with another configuration", path);
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

/* The attempt that a dead writer could not record: from its last event of a start to its last heartbeat. */
static void record_death(struct store *s, int64_t cut_rows)
{
    struct attempt_row row = { .attempt = (int32_t)s->table_rows[TABLE_ATTEMPTS] + 1, .cut_rows = cut_rows, .last_step = STEP_MISSING, .reason = "died" };
    struct attempt_row before;
    struct event_row event;
    const struct metrics *m = &s->metrics[STORE_TRAIN];
    hid_t attempt_type = table_type(&store_table[TABLE_ATTEMPTS]), event_type = table_type(&store_table[TABLE_EVENTS]);
    if (s->table_rows[TABLE_ATTEMPTS]) {
        H5(s, "/attempts", rows_read(s->table[TABLE_ATTEMPTS], attempt_type, s->table_rows[TABLE_ATTEMPTS] - 1, 1, &before));
        row.first_step = before.last_step + 1;
    }
    if (m->committed) row.last_step = m->step[m->committed - 1];
    for (int64_t i = s->table_rows[TABLE_EVENTS]; i-- > 0 && !s->failed && !row.start; ) {
        H5(s, "/events", rows_read(s->table[TABLE_EVENTS], event_type, i, 1, &event));
        if (event.code == EVENT_STARTED || event.code == EVENT_RESUMED) row.start = event.time;
    }
    H5(s, "/heartbeat", H5Dread(s->heartbeat, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, &row.stop));
    H5Tclose(attempt_type); H5Tclose(event_type);
    store_add_row(s, TABLE_ATTEMPTS, &row);
}

int store_resume(struct store **out, const char *path, const struct store_plan *plan, struct err *e)
{
    bool died;
    int64_t cut_rows = 0;
    *out = NULL;
    h5_begin();
    if (superblock_check(path, &died, e) < 0 || compare_series(path, plan, e) < 0) return -1;
    if (died && store_repair(path, &cut_rows, e) < 0) return -1;
    struct store *s = store_new(path, plan);
    s->file = H5(s, "", H5Fopen(path, H5F_ACC_RDWR | H5F_ACC_SWMR_WRITE, h5_access()));
    s->live = true;
    store_attach(s);
    check_lengths(s);
    if (died) record_death(s, cut_rows);
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
