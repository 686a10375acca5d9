/* fsck: reads every dataset of a run file (each chunk's checksum, each length against `step`) in a process of its
   own. */
#include "private.h"
#include "base/process.h"
#include <errno.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK_BYTES = 1 << 22 };

static void note(struct fsck_result *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void note(struct fsck_result *f, const char *format, ...)
{
    size_t used = strlen(f->text);
    va_list list;
    va_start(list, format);
    if (used) used += (size_t)snprintf(f->text + used, sizeof f->text - used, "; ");
    if (used < sizeof f->text) vsnprintf(f->text + used, sizeof f->text - used, format, list);
    va_end(list);
}

static bool dataset_good(hid_t data)
{
    hid_t type = H5Dget_type(data);
    int64_t rows = rows_of(data);
    size_t size = H5Tget_size(type), row = size;
    hid_t space = H5Dget_space(data);
    hsize_t dim[H5S_MAX_RANK];
    int rank = H5Sget_simple_extent_dims(space, dim, NULL);
    H5Sclose(space);
    for (int i = 1; i < rank; i++) row *= dim[i];
    int64_t block = row < BLOCK_BYTES ? BLOCK_BYTES / (int64_t)(row ? row : 1) : 1;
    char *to = xmalloc((size_t)block * row + 1);
    bool good = rows >= 0;
    for (int64_t at = 0; at < rows && good; at += block) {
        guard_step();
        good = rows_read(data, type, at, rows - at < block ? rows - at : block, to) == 0;
    }
    free(to);
    H5Tclose(type);
    return good;
}

struct visit { struct fsck_result *result; hid_t file; int64_t rows[STORE_GROUPS]; };

static herr_t visit_object(hid_t file, const char *name, const H5O_info_t *info, void *state)
{
    struct visit *v = state;
    if (info->type != H5O_TYPE_DATASET) return 0;
    hid_t data = H5Dopen2(file, name, H5P_DEFAULT);
    if (data < 0 || !dataset_good(data)) {
        v->result->bad_datasets++;
        note(v->result, "/%s is damaged", name);
    } else for (int g = 0; g < STORE_GROUPS; g++) {
        size_t length = strlen(store_group_path[g] + 1);
        hid_t how = H5Dget_space(data);
        hsize_t dim[H5S_MAX_RANK], most[H5S_MAX_RANK];
        H5Sget_simple_extent_dims(how, dim, most);
        H5Sclose(how);
        if (strncmp(name, store_group_path[g] + 1, length) || name[length] != '/' || most[0] != H5S_UNLIMITED) continue;
        int64_t more = (int64_t)dim[0] - v->rows[g];
        if (more > v->result->ragged_rows) v->result->ragged_rows = more;
        if (more >= 0) continue;
        v->result->bad_datasets++;
        note(v->result, "/%s has %lld of %lld committed rows", name, (long long)dim[0], (long long)v->rows[g]);
    }
    if (data >= 0) H5Dclose(data);
    return 0;
}

static void inspect(const char *path, struct fsck_result *f)
{
    struct err e;
    struct snapshot *r;
    if (snapshot_open(&r, path, &e) < 0) { note(f, "%s", e.text); return; }
    struct visit v = { .result = f };
    for (int g = 0; g < STORE_GROUPS; g++) v.rows[g] = r->rows[g];
    f->rows = v.rows[STORE_TRAIN];
    if (H5Ovisit2(r->file, H5_INDEX_NAME, H5_ITER_NATIVE, visit_object, &v, H5O_INFO_BASIC) < 0)
        note(f, "its objects cannot be listed: %s", h5_cause().text);
    else {
        if (r->live) note(f, "a writer has it open or died with it");
        if (f->ragged_rows) note(f, "%lld rows beyond the last commit", (long long)f->ragged_rows);
        f->readable = f->bad_datasets == 0;
        f->clean = f->readable && !r->live && !f->ragged_rows;
    }
    snapshot_close(r);
}

struct inspection { const char *path; struct fsck_result result; };

static void inspect_and_tell(int end, void *state)
{
    struct inspection *i = state;
    inspect(i->path, &i->result);
    child_write(end, &i->result, sizeof i->result);
}

/* What the child found, which adds to f; false: it died, and that is the finding. */
static bool inspect_guarded(const char *path, struct fsck_result *f)
{
    struct child c;
    struct inspection i = { path, *f };
    struct err e;
    char why[96];
    if (guard_begin(&c, inspect_and_tell, &i, &e)) { note(f, "%s", e.text); return false; }
    bool told = child_receive(&c, &i.result, sizeof i.result) == 0;
    guard_end(&c, why);
    if (!told) note(f, "%s", why);
    else *f = i.result;
    f->text[sizeof f->text - 1] = 0;
    return told;
}

int store_check(const char *path, struct err *e)
{
    struct fsck_result f = { 0 };
    return inspect_guarded(path, &f) ? 0 : err_set(e, "%s: %s", path, f.text);
}

/* A descriptor that holds the lock of the run's folder, -1 when a process has it, -2 when there is none to hold. */
static int hold_lock(const char *path)
{
    char *copy = xstrdup(path), name[4096];
    snprintf(name, sizeof name, "%s/run.lock", dirname(copy));
    free(copy);
    if (access(name, F_OK) != 0) return -2;
    int fd = process_lock(name);
    return fd < 0 && errno != EWOULDBLOCK ? -2 : fd;
}

static int repair_and_inspect(const char *path, struct fsck_result *f, struct err *e)
{
    int64_t cut;
    int lock = hold_lock(path);
    if (lock == -1) {
        errno = 0;
        return err_set(e, "%s: a live process holds run.lock beside it; nothing to repair while it writes", path);
    }
    int status = repair_file(path, INT64_MAX, &cut, e);
    if (lock >= 0) close(lock);
    if (status < 0) return -1;
    *f = (struct fsck_result){ .repaired = true };
    inspect_guarded(path, f);
    return 0;
}

int store_fsck(const char *path, bool repair, struct fsck_result *out, struct err *e)
{
    *out = (struct fsck_result){ 0 };
    if (access(path, R_OK) < 0) {
        err_set(e, "%s: %s", path, strerror(errno));
        errno = 0;
        return -1;
    }
    inspect_guarded(path, out);
    return repair && out->readable && !out->clean ? repair_and_inspect(path, out, e) : 0;
}
