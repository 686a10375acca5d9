/* Mending what a killed writer left, and cutting what is to be trained anew. */
#include "private.h"
#include "base/file.h"
#include "base/regular.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int copy_to(FILE *to, const char *path)
{
    struct err e;
    int fd = regular_open(path, &e);
    char *block = xmalloc(1 << 20);
    ssize_t n = fd < 0 ? -1 : 1;
    while (n > 0 && (n = read(fd, block, 1 << 20)) > 0) fwrite(block, 1, (size_t)n, to);
    free(block);
    int cause = errno;
    if (fd >= 0) close(fd);
    errno = cause;
    return n < 0 ? -1 : 0;
}

/* The next call to HDF5 forgets why one failed. */
static bool failed(bool now, struct h5_cause *why)
{
    if (now) *why = h5_cause();
    return now;
}

struct cut { hid_t group; int64_t rows, most; bool failed; struct h5_cause why; };

static void cut_check(struct cut *c, bool now) { c->failed |= !c->failed && failed(now, &c->why); }

static herr_t cut_dataset(hid_t group, const char *name, const H5L_info_t *info, void *state)
{
    struct cut *c = state;
    (void)info;
    hid_t data = H5Dopen2(group, name, H5P_DEFAULT), space = H5Dget_space(data);
    hsize_t dim[H5S_MAX_RANK], most[H5S_MAX_RANK];
    cut_check(c, H5Sget_simple_extent_dims(space, dim, most) < 1);
    if (!c->failed && most[0] == H5S_UNLIMITED && (int64_t)dim[0] > c->rows) {
        if ((int64_t)dim[0] - c->rows > c->most) c->most = (int64_t)dim[0] - c->rows;
        dim[0] = (hsize_t)c->rows;
        cut_check(c, H5Dset_extent(data, dim) < 0);
    }
    H5Sclose(space);
    cut_check(c, H5Dclose(data) < 0);
    return 0;
}

/* Committed rows of steps up to `last`; -1: they cannot be read. */
static int64_t rows_to_keep(hid_t step_data, int64_t last)
{
    int64_t rows = rows_committed(step_data);
    if (rows <= 0 || last == INT64_MAX) return rows;
    int64_t *step = xmalloc((size_t)rows * sizeof *step);
    if (rows_read(step_data, H5T_NATIVE_INT64, 0, rows, step) < 0) rows = -1;
    while (rows > 0 && step[rows - 1] > last) rows--;
    free(step);
    return rows;
}

/* Every series to the length of the steps that are kept; *most: the most rows cut from one so far. */
static int cut_group(hid_t file, const char *path, int64_t last, int64_t *most, struct h5_cause *why)
{
    struct cut c = { .group = H5Gopen2(file, path, H5P_DEFAULT) };
    hid_t step = H5Dopen2(c.group, "step", H5P_DEFAULT);
    c.rows = rows_to_keep(step, last);
    cut_check(&c, c.rows < 0);
    H5Dclose(step);
    if (!c.failed) cut_check(&c, H5Literate(c.group, H5_INDEX_NAME, H5_ITER_NATIVE, NULL, cut_dataset, &c) < 0);
    H5Gclose(c.group);
    if (c.most > *most) *most = c.most;
    *why = c.why;
    return c.failed ? -1 : 0;
}

/* A dead writer's superblock says that it is open and gives a stale end of file. The flags must be cleared and the
   end moved to the real one (rounded up to a page) before anything is closed, else closing truncates the data: that is
   what h5clear -s does. */
static int mend(const char *path, int64_t last, int64_t *cut_rows, struct h5_cause *why)
{
    hid_t how = H5Pcopy(h5_access());
    H5Pset(how, "clear_status_flags", &(hbool_t){ true });
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, how);
    hsize_t end;
    bool bad = failed(file < 0, why);
    H5Pclose(how);
    bad = bad || failed(H5Fget_filesize(file, &end) < 0, why) ||
          failed(H5Fincrement_filesize(file, (PAGE - end % PAGE) % PAGE) < 0, why);
    for (int g = 0; g < STORE_GROUPS && !bad; g++)
        bad = cut_group(file, store_group_path[g], g == STORE_EVAL && last < INT64_MAX ? last - 1 : last, cut_rows,
                        why) < 0;
    return bad || failed(H5Fclose(file) < 0, why) ? -1 : 0;
}

int repair_file(const char *path, int64_t last, int64_t *cut_rows, struct err *e)
{
    struct file *copy = file_begin(path, FILE_NAMED, e);
    struct h5_cause why;
    int status = 0;
    *cut_rows = 0;
    if (!copy) return -1;
    if (copy_to(file_stream(copy), path) < 0)
        status = err_set(e, "%s: cannot copy it to mend it: %s", path, strerror(errno));
    else if (file_flush(copy) == 0 && mend(file_name(copy), last, cut_rows, &why) < 0) {
        status = err_set(e, "%s: cannot be mended: %s", path, why.text);
        errno = why.number;
    }
    int cause = errno;
    if (!status) return file_commit(copy, e);
    file_abandon(copy);
    errno = cause;
    return -1;
}
