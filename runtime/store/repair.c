/* Mending what a killed writer left. */
#include "private.h"
#include "regular.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Superblock version 3: signature, version, sizes of offsets and lengths, flags (bit 0: open for writing). */
int superblock_check(const char *path, bool *left_open, struct err *e)
{
    static const unsigned char signature[8] = "\x89HDF\r\n\x1a\n";
    unsigned char head[48];
    int fd = regular_open(path, e);
    if (fd < 0) return err_prefix(e, "%s: ", path);
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
    struct err e;
    int in = regular_open(from, &e), out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
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

/* Every series to the length of the steps that are kept; returns the most rows cut from one, or -1. */
static int64_t cut_group(hid_t file, const char *path, int64_t last)
{
    struct cut c = { H5Gopen2(file, path, H5P_DEFAULT), 0, 0, false };
    hid_t step = H5Dopen2(c.group, "step", H5P_DEFAULT);
    c.rows = rows_to_keep(step, last);
    H5Dclose(step);
    if (c.rows < 0 || H5Literate(c.group, H5_INDEX_NAME, H5_ITER_NATIVE, NULL, cut_dataset, &c) < 0) c.failed = true;
    H5Gclose(c.group);
    return c.failed ? -1 : c.most;
}

/* A dead writer's superblock says that it is open and gives a stale end of file. The flags must be cleared and the
   end moved to the real one (rounded up to a page) before anything is closed, else closing truncates the data: that is
   what h5clear -s does. */
static int mend(const char *path, int64_t last, int64_t *cut_rows)
{
    hid_t how = H5Pcopy(h5_access());
    H5Pset(how, "clear_status_flags", &(hbool_t){ true });
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, how);
    H5Pclose(how);
    hsize_t end;
    if (file < 0 || H5Fget_filesize(file, &end) < 0 || H5Fincrement_filesize(file, (PAGE - end % PAGE) % PAGE) < 0) return -1;
    for (int g = 0; g < STORE_GROUPS; g++) {
        int64_t cut = cut_group(file, store_group_path[g], g == STORE_EVAL && last < INT64_MAX ? last - 1 : last);
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

static int rewrite(const char *path, int64_t last, int64_t *cut_rows, struct err *e)
{
    char *copy = temporary_path(path);
    int status = 0;
    *cut_rows = 0;
    unlink(copy);
    errno = 0;
    if (copy_file(path, copy) < 0) status = err_set(e, "%s: cannot copy it to mend it: %s", path, strerror(errno));
    else if (mend(copy, last, cut_rows) < 0) status = err_set(e, "%s: cannot be mended: %s", path, h5_cause().text);
    else if (sync_file(copy) < 0 || rename(copy, path) < 0 || sync_folder_of(path) < 0)
        status = err_set(e, "%s: the mended copy cannot take its place: %s", path, strerror(errno));
    int cause = errno;
    if (status < 0) unlink(copy);
    free(copy);
    errno = cause;
    return status;
}

int store_repair(const char *path, int64_t *cut_rows, struct err *e) { return rewrite(path, INT64_MAX, cut_rows, e); }

int store_rewind(const char *path, int64_t step, struct err *e)
{
    int64_t cut_rows;
    h5_begin();
    return store_check(path, e) ? -1 : rewrite(path, step, &cut_rows, e);
}
