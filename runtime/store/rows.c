/* Rows of a dataset, its first dimension: how many there are, reading and writing some. */
#include "private.h"

int64_t rows_of(hid_t dataset)
{
    hid_t space = H5Dget_space(dataset);
    hsize_t dim[H5S_MAX_RANK];
    int rank = space < 0 ? -1 : H5Sget_simple_extent_dims(space, dim, NULL);
    if (space >= 0) H5Sclose(space);
    return rank < 1 ? -1 : (int64_t)dim[0];
}

/* The selection of rows first..first+n-1 in the file, and a memory space of the same shape. */
static hid_t slab(hid_t dataset, int64_t first, int64_t n, hid_t *memory)
{
    hid_t space = H5Dget_space(dataset);
    hsize_t start[H5S_MAX_RANK] = { (hsize_t)first }, count[H5S_MAX_RANK];
    int rank = H5Sget_simple_extent_dims(space, count, NULL);
    count[0] = (hsize_t)n;
    *memory = H5Screate_simple(rank, count, NULL);
    if (H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL) >= 0) return space;
    H5Sclose(space);
    return -1;
}

int rows_read(hid_t dataset, hid_t type, int64_t first, int64_t n, void *to)
{
    hid_t memory, space = slab(dataset, first, n, &memory);
    int status = space < 0 ? -1 : H5Dread(dataset, type, memory, space, H5P_DEFAULT, to);
    H5Sclose(memory);
    if (space >= 0) H5Sclose(space);
    return status < 0 ? -1 : 0;
}

void rows_write(struct store *s, const char *what, hid_t data, hid_t type, int64_t first, int64_t n, const void *rows)
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
    space = slab(data, first, n, &memory);
    H5(s, what, H5Dwrite(data, type, memory, space, H5P_DEFAULT, rows));
    H5Sclose(space); H5Sclose(memory);
}

/* `step` may be longer than what was written to it when its writer died: a tail of fill values was never committed. */
int64_t rows_committed(hid_t step)
{
    int64_t rows = rows_of(step), tail[64];
    while (rows > 0) {
        int64_t n = rows < COUNT(tail) ? rows : COUNT(tail);
        if (rows_read(step, H5T_NATIVE_INT64, rows - n, n, tail) < 0) return -1;
        while (n > 0 && tail[n - 1] == STEP_MISSING) n--, rows--;
        if (n > 0) break;
    }
    return rows;
}
