/* Writing a run file. Rows wait in memory until the next flush; then every series gets its rows, and `step`
   comes last: a row exists when its step does. Under SWMR a killed writer leaves what it had flushed. */
#include "private.h"
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void columns_new(struct metrics *m, const struct store_plan *plan, enum store_group which)
{
    m->column = xcalloc((size_t)plan->n_series + 1, sizeof *m->column);
    for (int i = 0; i < plan->n_series; i++) {
        const struct series *p = &plan->series[i];
        if (p->group != which) continue;
        size_t count = series_count(p->rank, p->dim), bytes = count * store_number(p->type).size;
        m->column[m->n++] = (struct column){ xstrdup(p->name), p->type, p->is_volatile, count, bytes, -1, xcalloc(FLUSH_ROWS, bytes) };
    }
}

struct store *store_new(const char *path, const struct store_plan *plan)
{
    struct store *s = xcalloc(1, sizeof *s);
    s->path = xstrdup(path);
    s->flushed = clock_seconds();
    for (int g = 0; g < STORE_GROUPS; g++) columns_new(&s->metrics[g], plan, g);
    return s;
}

void store_free(struct store *s)
{
    for (int g = 0; g < STORE_GROUPS; g++) {
        struct metrics *m = &s->metrics[g];
        for (int i = 0; i < m->n; i++) { free(m->column[i].name); free(m->column[i].pending); }
        free(m->column); free(m->step);
    }
    free(s->path);
    free(s);
}

/* Opens a dataset with a cache of the one chunk that grows. */
static hid_t grow_open(struct store *s, const char *path, size_t row_bytes)
{
    hid_t how = H5Pcreate(H5P_DATASET_ACCESS);
    H5Pset_chunk_cache(how, 7, row_bytes > PAGE ? row_bytes : PAGE, 1);
    hid_t data = H5(s, path, H5Dopen2(s->file, path, how));
    H5Pclose(how);
    return data;
}

static void metrics_attach(struct store *s, enum store_group which)
{
    struct metrics *m = &s->metrics[which];
    char path[256];
    for (int i = 0; i < m->n; i++) {
        snprintf(path, sizeof path, "%s/%s", store_group_path[which], m->column[i].name);
        m->column[i].data = grow_open(s, path, m->column[i].bytes);
    }
    snprintf(path, sizeof path, "%s/step", store_group_path[which]);
    m->step_data = grow_open(s, path, sizeof(int64_t));
    m->committed = H5(s, path, rows_committed(m->step_data));
    if (s->failed) return;
    m->room = m->committed + 1024;
    m->step = xcalloc((size_t)m->room, sizeof *m->step);
    if (m->committed) H5(s, path, rows_read(m->step_data, H5T_NATIVE_INT64, 0, m->committed, m->step));
}

void store_attach(struct store *s)
{
    int *fd = NULL;
    H5(s, "", H5Fget_vfd_handle(s->file, h5_access(), (void **)&fd));
    if (!s->failed) s->fd = *fd;
    for (int g = 0; g < STORE_GROUPS; g++) metrics_attach(s, g);
    for (int t = 0; t < TABLE_LIVE; t++) {
        s->table[t] = grow_open(s, store_table[t].path, store_table[t].size);
        s->table_rows[t] = H5(s, store_table[t].path, table_rows(s->table[t], &store_table[t]));
    }
    s->status = grow_open(s, "/status", 1);
    s->heartbeat = grow_open(s, "/heartbeat", sizeof(double));
}

static void write_rows(struct store *s, const char *what, hid_t data, hid_t type, int64_t first, int64_t n, const void *rows)
{
    hid_t memory, space;
    int64_t room = H5(s, what, rows_of(data));
    hsize_t extent[H5S_MAX_RANK];
    if (s->failed) return;
    space = H5Dget_space(data);
    H5Sget_simple_extent_dims(space, extent, NULL);
    H5Sclose(space);
    extent[0] = (hsize_t)(first + n);
    if (room < first + n) H5(s, what, H5Dset_extent(data, extent));
    space = row_slab(data, first, n, &memory);
    H5(s, what, H5Dwrite(data, type, memory, space, H5P_DEFAULT, rows));
    H5Sclose(space); H5Sclose(memory);
}

static void write_one(struct store *s, const char *what, hid_t data, hid_t type, const void *value)
{
    H5(s, what, H5Dwrite(data, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, value));
    H5(s, what, H5Dflush(data));
}

void store_set_status(struct store *s, enum store_status status)
{
    write_one(s, "/status", s->status, H5T_NATIVE_UINT8, &(uint8_t){ (uint8_t)status });
    s->running = status == STATUS_RUNNING;
}

double unix_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void sync_data(struct store *s)
{
    if (!s->failed && fdatasync(s->fd) < 0) store_broken_by_system(s, "fdatasync");
    s->synced = clock_seconds();
}

static void keep_steps(struct metrics *m)
{
    if (m->committed + m->pending > m->room) {
        m->room *= 2;
        m->step = xrealloc(m->step, (size_t)m->room * sizeof *m->step);
    }
    memcpy(m->step + m->committed, m->pending_step, (size_t)m->pending * sizeof *m->step);
    m->committed += m->pending;
    m->pending = 0;
}

void store_commit(struct store *s)
{
    for (int g = 0; g < STORE_GROUPS; g++) {
        struct metrics *m = &s->metrics[g];
        for (int i = 0; i < m->n && m->pending; i++) {
            struct column *c = &m->column[i];
            write_rows(s, c->name, c->data, store_number(c->type).memory, m->committed, m->pending, c->pending);
            H5(s, c->name, H5Dflush(c->data));
        }
    }
    /* A kill needs no sync; a power cut does. What the marker promises goes to the disk before the marker. */
    if (clock_seconds() - s->synced >= FLUSH_SECONDS) sync_data(s);
    for (int g = 0; g < STORE_GROUPS; g++) {
        struct metrics *m = &s->metrics[g];
        if (!m->pending) continue;
        write_rows(s, "step", m->step_data, H5T_NATIVE_INT64, m->committed, m->pending, m->pending_step);
        H5(s, "step", H5Dflush(m->step_data));
        if (!s->failed) keep_steps(m);
    }
    if (!s->running) store_set_status(s, STATUS_RUNNING);
    write_one(s, "/heartbeat", s->heartbeat, H5T_NATIVE_DOUBLE, &(double){ unix_seconds() });
    s->flushed = clock_seconds();
}

int store_flush(struct store *s, struct err *e)
{
    store_commit(s);
    sync_data(s);
    return store_result(s, e);
}

static int keep_row(struct store *s, enum store_group group, const double *const *value, struct err *e)
{
    struct metrics *m = &s->metrics[group];
    for (int i = 0; i < m->n; i++) {
        struct column *c = &m->column[i];
        size_t size = c->bytes / c->count;
        char *to = c->pending + (size_t)m->pending * c->bytes;
        for (size_t k = 0; k < c->count; k++)
            if (!store_convert(c->type, value[i][k], to + k * size))
                return err_set(e, "%s: %s/%s[%zu] = %.17g does not fit its type", s->path, store_group_name[group], c->name, k, value[i][k]);
    }
    return 0;
}

int store_append(struct store *s, enum store_group group, int64_t step, const double *const *value, struct err *e)
{
    struct metrics *m = &s->metrics[group];
    if (s->failed) return store_result(s, e);
    if (step < 0) return err_set(e, "%s: %s: step %lld is negative", s->path, store_group_name[group], (long long)step);
    if (m->pending && step <= m->pending_step[m->pending - 1]) store_commit(s);
    if (!m->pending && m->committed && step <= m->step[m->committed - 1]) return store_replay(s, group, step, value, e);
    if (keep_row(s, group, value, e) < 0) return -1;
    m->pending_step[m->pending++] = step;
    if (m->pending == FLUSH_ROWS || clock_seconds() - s->flushed >= FLUSH_SECONDS) store_commit(s);
    return store_result(s, e);
}

/* Tables are flushed row by row: they are short, and their rows matter when all else goes wrong. */
void store_add_row(struct store *s, enum store_table table, const void *row)
{
    const struct table *t = &store_table[table];
    hid_t type = table_type(t);
    write_rows(s, t->path, s->table[table], type, s->table_rows[table], 1, row);
    H5(s, t->path, H5Dflush(s->table[table]));
    H5Tclose(type);
    if (!s->failed) s->table_rows[table]++;
}

int store_event(struct store *s, int64_t step, enum store_level level, enum store_event code, const char *text, struct err *e)
{
    struct event_row row = { .step = step, .time = unix_seconds(), .level = (uint8_t)level, .code = code };
    copy_text(row.text, sizeof row.text, text);
    store_add_row(s, TABLE_EVENTS, &row);
    return store_result(s, e);
}

int store_sample(struct store *s, int64_t step, int prompt, const char *text, struct err *e)
{
    struct sample_row row = { .step = step, .prompt_id = prompt };
    row.truncated = copy_text(row.text, sizeof row.text, text);
    store_add_row(s, TABLE_SAMPLES, &row);
    return store_result(s, e);
}

int store_checkpoint(struct store *s, int64_t step, const char *file, uint64_t bytes, const char *hash, struct err *e)
{
    struct checkpoint_row row = { .step = step, .bytes = bytes };
    copy_text(row.file, sizeof row.file, file);
    copy_text(row.xxh128, sizeof row.xxh128, hash);
    store_add_row(s, TABLE_CHECKPOINTS, &row);
    return store_result(s, e);
}

int store_attempt(struct store *s, int64_t first_step, int64_t last_step, int64_t cut_rows, const char *host, double start, double stop, const char *reason, struct err *e)
{
    struct attempt_row row = { .attempt = (int32_t)s->table_rows[TABLE_ATTEMPTS] + 1, .first_step = first_step, .last_step = last_step,
                               .cut_rows = cut_rows, .start = start, .stop = stop };
    copy_text(row.host, sizeof row.host, host);
    copy_text(row.reason, sizeof row.reason, reason);
    store_add_row(s, TABLE_ATTEMPTS, &row);
    return store_result(s, e);
}

int store_executed(struct store *s, double flops, double peak_bytes, struct err *e)
{
    store_add_row(s, TABLE_EXECUTED, &(struct executed_row){ unix_seconds(), flops, peak_bytes });
    return store_result(s, e);
}

bool store_failed(const struct store *s) { return s->failed; }
bool store_mismatch(const struct store *s) { return s->mismatch; }
int64_t store_rows(const struct store *s, enum store_group group) { return s->metrics[group].committed; }
int store_exit_code(const struct store *s)
{
    bool full = s->cause == ENOSPC || s->cause == EFBIG || s->cause == EDQUOT;
    return s->failed ? (full ? 6 : 1) : s->mismatch ? 8 : 0;
}

char *temporary_path(const char *path)
{
    size_t size = strlen(path) + sizeof ".tmp";
    char *text = xmalloc(size);
    snprintf(text, size, "%s.tmp", path);
    return text;
}

int sync_folder_of(const char *path)
{
    char *copy = xstrdup(path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int status = fd < 0 ? -1 : fsync(fd);
    if (fd >= 0) close(fd);
    free(copy);
    return status;
}

/* The file gets its name when a kill can no longer hurt it. */
static void take_name(struct store *s, const char *temporary)
{
    if (s->failed) return;
    if (fsync(s->fd) < 0 || rename(temporary, s->path) < 0 || sync_folder_of(s->path) < 0) store_broken_by_system(s, "rename");
}

int store_create(struct store **out, const char *path, const struct store_plan *plan, struct err *e)
{
    *out = NULL;
    h5_begin();
    if (access(path, F_OK) == 0) { errno = EEXIST; return err_set(e, "%s: exists already", path); }
    struct store *s = store_new(path, plan);
    char *temporary = temporary_path(path);
    unlink(temporary);
    hid_t how = layout_properties();
    s->file = H5(s, "", H5Fcreate(temporary, H5F_ACC_EXCL, how, h5_access()));
    H5Pclose(how);
    layout_make(s, plan);
    H5(s, "", H5Fstart_swmr_write(s->file));
    s->live = true;
    store_attach(s);
    take_name(s, temporary);
    if (s->failed) unlink(temporary);
    free(temporary);
    int status = store_result(s, e);
    if (status < 0) store_free(s);
    else *out = s;
    return status;
}

int store_close(struct store *s, enum store_status status, struct err *e)
{
    store_commit(s);
    store_set_status(s, status);
    sync_data(s);
    int fd = s->failed ? -1 : dup(s->fd);
    H5(s, "", H5Fclose(s->file));
    if (!s->failed && fsync(fd) < 0) store_broken_by_system(s, "fsync");
    if (fd >= 0) close(fd);
    int result = store_result(s, e);
    store_free(s);
    return result;
}
