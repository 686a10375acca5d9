/* A store from the making or opening of its file to the end. */
#include "private.h"
#include "base/file.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void columns_new(struct metrics *m, const struct store_plan *plan, enum store_group which)
{
    m->column = xcalloc((size_t)plan->n_series + 1, sizeof *m->column);
    for (int i = 0; i < plan->n_series; i++) {
        const struct series *p = &plan->series[i];
        if (p->group != which) continue;
        size_t count = dims_count(p->rank, p->dim), bytes = count * store_number(p->type).size;
        m->column[m->n++] = (struct column){ xstrdup(p->name), p->type, p->is_volatile, count, bytes, -1,
                                             xcalloc(FLUSH_ROWS, bytes) };
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

/* The file gets its name when a kill can no longer hurt it. */
static void take_name(struct store *s, struct file *file)
{
    struct err why;
    if (s->failed) file_abandon(file);
    else if (file_commit(file, &why)) store_broken_by_system(s, "rename");
}

int store_create(struct store **out, const char *path, const struct store_plan *plan, struct err *e)
{
    *out = NULL;
    h5_begin();
    if (access(path, F_OK) == 0) { errno = EEXIST; return err_set(e, "%s: exists already", path); }
    struct file *file = file_begin(path, FILE_NAMED, e);
    if (!file) return -1;
    struct store *s = store_new(path, plan);
    hid_t how = layout_properties();
    s->file = H5(s, "", H5Fcreate(file_name(file), H5F_ACC_TRUNC, how, h5_access()));
    H5Pclose(how);
    layout_make(s, plan);
    H5(s, "", H5Fstart_swmr_write(s->file));
    s->live = true;
    store_attach(s);
    attempt_begin(s, 0);
    take_name(s, file);
    int status = store_result(s, e);
    if (status < 0) store_free(s);
    else *out = s;
    return status;
}

int store_close(struct store *s, enum store_status status, struct err *e)
{
    store_commit(s);
    attempt_end(s, status_name[status]);
    store_set_status(s, status);
    store_sync(s);
    int fd = s->failed ? -1 : dup(s->fd);
    H5(s, "", H5Fclose(s->file));
    if (!s->failed && fsync(fd) < 0) store_broken_by_system(s, "fsync");
    if (fd >= 0) close(fd);
    int result = store_result(s, e);
    store_free(s);
    return result;
}
