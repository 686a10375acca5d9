/* Reading a run file in this process: live ones, those of dead writers and closed ones alike, without ever writing.
   Rows are counted when it is opened. HDF5 may crash on a damaged file: reader.c and fsck.c do this in a process of its
   own. */
#include "private.h"
#include <hdf5_hl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int refuse(const struct snapshot *r, const char *what, struct err *e)
{
    return err_set(e, "%s: %s cannot be read: %s", r->path, what, h5_cause().text);
}

/* What is this attribute's text; numbers are printed. NULL when there is none. */
static const char *attribute_text(struct snapshot *r, hid_t at, const char *name)
{
    const char *text = NULL;
    hid_t attribute = H5Aopen(at, name, H5P_DEFAULT);
    if (attribute < 0) return NULL;
    hid_t type = H5Aget_type(attribute), space = H5Aget_space(attribute);
    if (H5Sget_simple_extent_npoints(space) == 1) {
        char *words = NULL;
        int64_t integer;
        double number;
        if (H5Tis_variable_str(type) > 0) {
            hid_t memory = text_type(H5T_VARIABLE);
            if (H5Aread(attribute, memory, &words) >= 0 && words) text = arena_text(r->texts, "%s", words);
            H5free_memory(words);
            H5Tclose(memory);
        } else if (H5Tget_class(type) == H5T_INTEGER && H5Aread(attribute, H5T_NATIVE_INT64, &integer) >= 0)
            text = arena_text(r->texts, "%lld", (long long)integer);
        else if (H5Tget_class(type) == H5T_FLOAT && H5Aread(attribute, H5T_NATIVE_DOUBLE, &number) >= 0)
            text = arena_text(r->texts, "%.17g", number);
    }
    H5Sclose(space); H5Tclose(type); H5Aclose(attribute);
    return text;
}

/* While a writer rewrites the chunk that grows, its checksum can be caught between two states: look again. */
static int read_dataset(struct snapshot *r, const char *path, hid_t type, int64_t first, int64_t n, void *to)
{
    int status = -1;
    for (int attempt = 0; status < 0 && attempt < (r->live ? 50 : 1); attempt++) {
        if (attempt) nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
        hid_t data = H5Dopen2(r->file, path, H5P_DEFAULT);
        if (data < 0) continue;
        status = rows_read(data, type, first, n, to);
        H5Dclose(data);
    }
    return status;
}

static bool type_find(hid_t data, enum store_type *type)
{
    hid_t stored = H5Dget_type(data);
    bool found = false;
    for (enum store_type t = STORE_F64; t < STORE_TYPES && !found; t++)
        if (H5Tequal(stored, store_number(t).file) > 0) { *type = t; found = true; }
    H5Tclose(stored);
    return found;
}

static void take_text(struct snapshot *r, hid_t data, const char *name, char *to, size_t room)
{
    const char *text = attribute_text(r, data, name);
    copy_text(to, room - 1, text ? text : "");
    to[room - 1] = 0;
}

/* Files of format 1.0 do not say it. */
static enum better better_of(struct snapshot *r, hid_t data)
{
    const char *text = attribute_text(r, data, "better");
    int better = BETTER_HIGHER;
    while (better > BETTER_NONE && (!text || strcmp(text, better_name[better]) != 0)) better--;
    return (enum better)better;
}

static bool series_read(struct snapshot *r, hid_t data, struct reader_series *s)
{
    hid_t space = H5Dget_space(data);
    hsize_t dim[H5S_MAX_RANK];
    int rank = H5Sget_simple_extent_dims(space, dim, NULL);
    H5Sclose(space);
    if (rank < 1 || rank > 4 || !type_find(data, &s->type)) return false;
    s->rank = rank - 1;
    for (int i = 0; i < s->rank; i++) {
        s->dim[i] = (int64_t)dim[i + 1];
        H5DSget_label(data, (unsigned)i + 1, s->dim_name[i], sizeof s->dim_name[i]);
    }
    take_text(r, data, "units", s->unit, sizeof s->unit);
    take_text(r, data, "long_name", s->about, sizeof s->about);
    s->is_volatile = H5Aexists(data, "volatile") > 0;
    s->better = better_of(r, data);
    return true;
}

static int series_take(struct snapshot *r, hid_t group, enum store_group which, hsize_t i, struct err *e)
{
    struct reader_series s = { .group = which };
    H5L_info_t info;
    ssize_t length = H5Lget_name_by_idx(group, ".", H5_INDEX_CRT_ORDER, H5_ITER_INC, i, s.name, sizeof s.name,
                                        H5P_DEFAULT);
    if (length < 0 || length >= (ssize_t)sizeof s.name || H5Lget_info(group, s.name, &info, H5P_DEFAULT) < 0 ||
        info.type != H5L_TYPE_HARD)
        return err_set(e, "%s: %s holds something that is no series", r->path, store_group_path[which]);
    hid_t data = H5Dopen2(group, s.name, H5P_DEFAULT);
    if (data < 0) return refuse(r, s.name, e);
    bool scale = H5DSis_scale(data) > 0, good = scale || series_read(r, data, &s);
    H5Dclose(data);
    if (!good) return err_set(e, "%s: %s/%s is no series (type or rank)", r->path, store_group_path[which], s.name);
    if (scale) return 0;
    if (r->n == r->room) r->series = xrealloc(r->series, (size_t)(r->room = 2 * r->room + 16) * sizeof *r->series);
    r->series[r->n++] = s;
    return 0;
}

static int group_take(struct snapshot *r, enum store_group which, struct err *e)
{
    hid_t group = H5Gopen2(r->file, store_group_path[which], H5P_DEFAULT);
    if (group < 0) return refuse(r, store_group_path[which], e);
    hid_t step = H5Dopen2(group, "step", H5P_DEFAULT);
    r->rows[which] = -1;
    for (int attempt = 0; step >= 0 && r->rows[which] < 0 && attempt < (r->live ? 50 : 1); attempt++) {
        r->rows[which] = rows_committed(step);
        if (r->rows[which] < 0 && r->live) H5Drefresh(step);
    }
    int status = r->rows[which] < 0 ? refuse(r, "step", e) : 0;
    if (step >= 0) H5Dclose(step);
    H5G_info_t info = { 0 };
    if (!status && H5Gget_info(group, &info) < 0) status = refuse(r, store_group_path[which], e);
    for (hsize_t i = 0; i < info.nlinks && !status; i++) status = series_take(r, group, which, i, e);
    H5Gclose(group);
    return status;
}

static int identify(struct snapshot *r, struct err *e)
{
    const char *format, *version;
    uint8_t status;
    if (snapshot_text(r, "/", "format", &format, e) || snapshot_text(r, "/", "format_version", &version, e)) return -1;
    if (strcmp(format, "sluice-run"))
        return err_set(e, "%s: an HDF5 file, but not a run file (@format = '%s')", r->path, format);
    if (atoi(version) != STORE_VERSION_MAJOR)
        return err_set(e, "%s: format version %s, this program reads %d.x", r->path, version, STORE_VERSION_MAJOR);
    if (read_dataset(r, "/status", H5T_NATIVE_UINT8, 0, 1, &status) < 0) return refuse(r, "/status", e);
    if (status >= STATUS_COUNT)
        return err_set(e, "%s: /status is %d, the last known is %d", r->path, status, STATUS_COUNT - 1);
    r->status = status;
    return 0;
}

int snapshot_open(struct snapshot **out, const char *path, struct err *e)
{
    bool live;
    *out = NULL;
    h5_begin();
    if (superblock_check(path, &live, e) < 0) return -1;
    struct snapshot *r = xcalloc(1, sizeof *r);
    *r = (struct snapshot){ .path = xstrdup(path), .live = live, .texts = arena_new() };
    r->file = H5Fopen(path, H5F_ACC_RDONLY | H5F_ACC_SWMR_READ, h5_access());
    int status = r->file < 0 ? refuse(r, "it", e) : identify(r, e);
    for (int g = 0; g < STORE_GROUPS && !status; g++) status = group_take(r, g, e);
    if (status) snapshot_close(r);
    else *out = r;
    return status;
}

void snapshot_close(struct snapshot *r)
{
    if (r->file >= 0) H5Fclose(r->file);
    arena_free(r->texts);
    free(r->series); free(r->path);
    free(r);
}

int snapshot_values(struct snapshot *r, const struct reader_series *s, int64_t first, int64_t n, double *to,
                    struct err *e)
{
    char path[128];
    size_t count = (size_t)n * dims_count(s->rank, s->dim);
    double missing = store_number(s->type).missing;
    snprintf(path, sizeof path, "%s/%s", store_group_path[s->group], s->name);
    if (read_dataset(r, path, H5T_NATIVE_DOUBLE, first, n, to) < 0) return refuse(r, path, e);
    for (size_t i = 0; i < count; i++) if (to[i] == missing) to[i] = NAN;
    return 0;
}

int snapshot_steps(struct snapshot *r, enum store_group group, int64_t first, int64_t n, int64_t *to, struct err *e)
{
    char path[64];
    snprintf(path, sizeof path, "%s/step", store_group_path[group]);
    return read_dataset(r, path, H5T_NATIVE_INT64, first, n, to) < 0 ? refuse(r, path, e) : 0;
}

int snapshot_text(struct snapshot *r, const char *group, const char *attribute, const char **text, struct err *e)
{
    *text = "";
    hid_t at = H5Oopen(r->file, group, H5P_DEFAULT);
    if (at < 0) return H5Oexists_by_name(r->file, group, H5P_DEFAULT) == 0 ? 0 : refuse(r, group, e);
    htri_t there = H5Aexists(at, attribute);
    const char *found = there > 0 ? attribute_text(r, at, attribute) : "";
    H5Oclose(at);
    if (there < 0 || !found)
        return err_set(e, "%s: attribute %s of %s cannot be read: %s", r->path, attribute, group, h5_cause().text);
    *text = found;
    return 0;
}

static int long_text(struct snapshot *r, const char *path, const char **text, struct err *e)
{
    hid_t data = H5Dopen2(r->file, path, H5P_DEFAULT), type = data < 0 ? -1 : H5Dget_type(data);
    bool good = type >= 0 && H5Tget_class(type) == H5T_STRING && H5Tis_variable_str(type) == 0 && rows_of(data) == 1;
    char *found = good ? arena_alloc(r->texts, H5Tget_size(type) + 1) : NULL;
    if (!good || rows_read(data, type, 0, 1, found) < 0) good = refuse(r, path, e) == 0;
    if (type >= 0) H5Tclose(type);
    if (data >= 0) H5Dclose(data);
    *text = good ? found : "";
    return good ? 0 : -1;
}

int snapshot_config(struct snapshot *r, const char **text, struct err *e)
{
    return long_text(r, "/config/canonical_json", text, e);
}
int snapshot_script(struct snapshot *r, const char **text, struct err *e)
{
    return long_text(r, "/config/script", text, e);
}

static int text_since_1_2(struct snapshot *r, const char *path, const char **text, struct err *e)
{
    *text = "";
    return H5Lexists(r->file, path, H5P_DEFAULT) == 0 ? 0 : long_text(r, path, text, e);
}

int snapshot_required(struct snapshot *r, const char **text, struct err *e)
{
    return text_since_1_2(r, "/config/required", text, e);
}
int snapshot_record(struct snapshot *r, const char **text, struct err *e)
{
    return text_since_1_2(r, "/config/record", text, e);
}

int snapshot_table(struct snapshot *r, const struct table *t, void (*line)(void *state, const char *text), void *state,
                   struct err *e)
{
    hid_t data = H5Dopen2(r->file, t->path, H5P_DEFAULT), type = table_type(t);
    int64_t rows = data < 0 ? -1 : table_rows(data, t);
    int status = rows < 0 ? refuse(r, t->path, e) : 0;
    char *row = xcalloc(1, t->size);
    for (int64_t i = 0; i < rows && !status; i++) {
        if (rows_read(data, type, i, 1, row) < 0) { status = refuse(r, t->path, e); break; }
        char *text = table_line(t, row);
        line(state, text);
        free(text);
    }
    free(row);
    H5Tclose(type);
    if (data >= 0) H5Dclose(data);
    return status;
}
