/* Everything a run file will ever contain is made here, before SWMR begins: groups, attributes, datasets, dimension
   scales. Afterwards only rows are appended.

   The file is paged: no object smaller than a page crosses a page boundary, and a chunk is at most one page or exactly
   one row. A write that crosses pages can be torn by SIGKILL, and a torn chunk takes its committed rows with it; a row
   that is larger than a page has a chunk of its own, which is written once. */
#include "private.h"
#include <hdf5_hl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char readme[] =
    "A Sluice run. Each series in /metrics/train and /metrics/eval has one row for each entry of the `step` beside it; "
    "rows beyond len(step) do not exist. Dimension order: row first, then the named ones (C order; MATLAB and Fortran "
    "show it reversed). While the run goes on, or after its process died: h5py.File(path, 'r', swmr=True). A closed "
    "run opens in every reader of HDF5 1.10 or later. To mend the file of a dead process: sluice fsck --repair "
    "(h5clear destroys it). Missing values: NaN, 4294967295 in u32, 255 in u8, -32768 in i16, -2**63 in "
    "i64.";

/* The one guard of the rule above: every maker asks it. */
static bool may_make(const struct store *s, const char *what)
{
    INVARIANT(!s->live, "%s: '%s' would be made after SWMR began", s->path, what);
    return !s->failed;
}

static void text_attribute(struct store *s, hid_t at, const char *name, const char *text)
{
    if (!may_make(s, name)) return;
    hid_t type = text_type(H5T_VARIABLE), space = H5Screate(H5S_SCALAR);
    hid_t attribute = H5(s, name, H5Acreate2(at, name, type, space, H5P_DEFAULT, H5P_DEFAULT));
    H5(s, name, H5Awrite(attribute, type, &text));
    H5Aclose(attribute); H5Sclose(space); H5Tclose(type);
}

static void number_attribute(struct store *s, hid_t at, const char *name, hid_t type, const void *value, hsize_t n)
{
    if (!may_make(s, name)) return;
    hid_t space = n == 1 ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, &n, NULL);
    hid_t attribute = H5(s, name, H5Acreate2(at, name, type, space, H5P_DEFAULT, H5P_DEFAULT));
    H5(s, name, H5Awrite(attribute, type, value));
    H5Aclose(attribute); H5Sclose(space);
}

static hid_t group_make(struct store *s, const char *path)
{
    if (!may_make(s, path)) return -1;
    if (strcmp(path, "/") == 0 || H5Lexists(s->file, path, H5P_DEFAULT) > 0)
        return H5(s, path, H5Gopen2(s->file, path, H5P_DEFAULT));
    hid_t order = H5Pcreate(H5P_GROUP_CREATE);
    H5Pset_link_creation_order(order, H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED);
    hid_t group = H5(s, path, H5Gcreate2(s->file, path, H5P_DEFAULT, order, H5P_DEFAULT));
    H5Pclose(order);
    return group;
}

struct grid { int rank; hsize_t dim[4], most[4], chunk[4]; bool small; };             /* small: compressed */
struct label { const char *unit, *about; bool is_volatile; };

static hid_t dataset_make(struct store *s, hid_t at, const char *name, hid_t type, struct grid g, const void *fill,
                          struct label label)
{
    if (!may_make(s, name)) return -1;
    hid_t space = H5Screate_simple(g.rank, g.dim, g.most), how = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(how, g.rank, g.chunk);
    if (g.small && H5Zfilter_avail(H5Z_FILTER_DEFLATE) > 0) {
        H5Pset_shuffle(how);
        H5Pset_deflate(how, 4);
    }
    H5Pset_fletcher32(how);
    if (fill) H5Pset_fill_value(how, type, fill);
    hid_t data = H5(s, name, H5Dcreate2(at, name, type, space, H5P_DEFAULT, how, H5P_DEFAULT));
    H5Pclose(how); H5Sclose(space);
    text_attribute(s, data, "units", label.unit ? label.unit : "");
    text_attribute(s, data, "long_name", label.about ? label.about : "");
    if (label.is_volatile) number_attribute(s, data, "volatile", H5T_NATIVE_UINT8, &(uint8_t){ 1 }, 1);
    return data;
}

/* A dataset that is complete from the start; n elements. */
static hid_t constant_make(struct store *s, hid_t at, const char *name, hid_t type, hid_t memory, hsize_t n,
                           const void *value, struct label label)
{
    hid_t data = dataset_make(s, at, name, type, (struct grid){ 1, { n }, { n }, { n }, false }, NULL, label);
    H5(s, name, H5Dwrite(data, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, value));
    return data;
}

static hid_t text_make(struct store *s, hid_t at, const char *name, const char *text, struct label label)
{
    hid_t type = text_type(strlen(text) + 1), data = constant_make(s, at, name, type, type, 1, text, label);
    H5Tclose(type);
    return data;
}

/* Extendible, of `bytes` a row: as many rows as a page holds, or one. */
static struct grid growing(int rank, const int64_t *dim, size_t bytes)
{
    struct grid g = { 1 + rank, { 0 }, { H5S_UNLIMITED }, { bytes < PAGE_DATA ? PAGE_DATA / bytes : 1 },
                      false };
    for (int i = 0; i < rank; i++) g.dim[1 + i] = g.most[1 + i] = g.chunk[1 + i] = (hsize_t)dim[i];
    return g;
}

/* A compressed chunk, whose size is another after each write, is written once: it has one row. */
static struct grid growing_of(const struct series *s)
{
    struct grid g = growing(s->rank, s->dim, store_number(s->type).size * dims_count(s->rank, s->dim));
    g.small = s->type == STORE_I16;
    if (g.small) g.chunk[0] = 1;
    return g;
}

/* Headers, attributes, groups and short tables, of a file and of a series, and the entry of a chunk: measured. */
enum { FILE_PAGES = 9, SERIES_BYTES = 1540, CHUNK_BYTES = 24 };

int64_t store_series_bytes(const struct series *s, int64_t rows)
{
    size_t bytes = store_number(s->type).size * dims_count(s->rank, s->dim);
    struct grid g = growing_of(s);
    int64_t chunks = (rows + (int64_t)g.chunk[0] - 1) / (int64_t)g.chunk[0],
            pages = (int64_t)((bytes * g.chunk[0] + PAGE - PAGE_DATA + PAGE - 1) / PAGE);
    return SERIES_BYTES + chunks * (CHUNK_BYTES + pages * PAGE);
}

int64_t store_fixed_bytes(int64_t checkpoints, size_t text)
{
    const int64_t per_page = PAGE_DATA / (int64_t)sizeof(struct checkpoint_row);
    return (FILE_PAGES + checkpoints / per_page) * PAGE + (int64_t)text;
}

static hid_t table_make(struct store *s, const struct table *t)
{
    hid_t file = table_type(t);
    H5Tpack(file);
    hid_t data = dataset_make(s, s->file, t->path, file, growing(0, NULL, H5Tget_size(file)), NULL,
                              (struct label){ "", t->about, t->is_volatile });
    H5Tclose(file);
    return data;
}

static hid_t scale_find(struct store *s, hid_t group, const char *name, int64_t size)
{
    if (!may_make(s, name)) return -1;
    if (H5Lexists(group, name, H5P_DEFAULT) > 0) {
        hid_t scale = H5(s, name, H5Dopen2(group, name, H5P_DEFAULT));
        INVARIANT(s->failed || rows_of(scale) == size, "two series give dimension '%s' %lld and %lld values", name,
                  (long long)rows_of(scale), (long long)size);
        return scale;
    }
    int32_t *index = xcalloc((size_t)size, sizeof *index);
    for (int32_t i = 0; i < size; i++) index[i] = i;
    hid_t scale = constant_make(s, group, name, H5T_STD_I32LE, H5T_NATIVE_INT32, (hsize_t)size, index,
                                (struct label){ "", "index of the dimension", false });
    H5(s, name, H5DSset_scale(scale, name));
    free(index);
    return scale;
}

static void series_make(struct store *s, hid_t group, hid_t step, const struct series *p)
{
    struct number number = store_number(p->type);
    char fill[8];
    store_convert(p->type, NAN, fill);
    hid_t data = dataset_make(s, group, p->name, number.file, growing_of(p), fill,
                              (struct label){ p->unit, p->about, p->is_volatile });
    text_attribute(s, data, "better", better_name[p->better]);
    number_attribute(s, data, "_FillValue", number.file, fill, 1);
    if (p->type == STORE_U8) {
        number_attribute(s, data, "flag_values", H5T_NATIVE_UINT8, (uint8_t[]){ 0, 1 }, 2);
        text_attribute(s, data, "flag_meanings", "false true");
    }
    H5(s, p->name, H5DSattach_scale(data, step, 0));
    H5(s, p->name, H5DSset_label(data, 0, "row"));
    for (int i = 0; i < p->rank; i++) {
        hid_t scale = scale_find(s, group, p->dim_name[i], p->dim[i]);
        H5(s, p->name, H5DSattach_scale(data, scale, (unsigned)i + 1));
        H5(s, p->name, H5DSset_label(data, (unsigned)i + 1, p->dim_name[i]));
        H5Dclose(scale);
    }
    H5Dclose(data);
}

static void metrics_make(struct store *s, const struct store_plan *plan, enum store_group which)
{
    hid_t group = group_make(s, store_group_path[which]);
    struct label label = { "", "optimizer step of each row; written last, it commits the row", false };
    hid_t step = dataset_make(s, group, "step", H5T_STD_I64LE, growing(0, NULL, sizeof(int64_t)),
                              &(int64_t){ STEP_MISSING }, label);
    H5(s, "step", H5DSset_scale(step, "row"));
    for (int i = 0; i < plan->n_series; i++)
        if (plan->series[i].group == which) series_make(s, group, step, &plan->series[i]);
    H5Dclose(step); H5Gclose(group);
}

static void root_attributes(struct store *s)
{
    hid_t root = group_make(s, "/");
    time_t now = time(NULL);
    struct tm utc;
    char version[32], created[32];
    snprintf(version, sizeof version, "%d.%d", STORE_VERSION_MAJOR, STORE_VERSION_MINOR);
    strftime(created, sizeof created, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    text_attribute(s, root, "format", "sluice-run");
    text_attribute(s, root, "format_version", version);
    text_attribute(s, root, "created", created);
    text_attribute(s, root, "readme", readme);
    H5Gclose(root);
}

static void config_make(struct store *s, const struct store_plan *plan)
{
    hid_t group = group_make(s, "/config");
    char digest[33];
    hash_print(hash_bytes(plan->script_text, strlen(plan->script_text)), digest);
    H5Dclose(text_make(s, group, "canonical_json", plan->config_json,
                       (struct label){ "", "the resolved configuration, keys sorted", false }));
    hid_t script = text_make(s, group, "script", plan->script_text,
                             (struct label){ "", "the experiment's Lua source", false });
    text_attribute(s, script, "path", plan->script_path);
    text_attribute(s, script, "xxh128", digest);
    H5Dclose(script);
    if (plan->required_json)
        H5Dclose(text_make(s, group, "required", plan->required_json,
                           (struct label){ "", "files that the script required: name and text", false }));
    if (plan->record_json)
        H5Dclose(text_make(s, group, "record", plan->record_json,
                           (struct label){ "", "how the study was run: command, folder, overrides, program", true }));
    H5Gclose(group);
}

static void cost_make(struct store *s, const struct store_plan *plan)
{
    const struct table *t = &store_table[TABLE_COST];
    struct cost_row *row = xcalloc((size_t)plan->n_costs + 1, sizeof *row);
    for (int i = 0; i < plan->n_costs; i++) {
        const struct cost_line *c = &plan->costs[i];
        row[i] = (struct cost_row){ .params_total = c->params_total, .params_active = c->params_active,
                                    .flops_fwd = c->flops_fwd,
            .flops_train = c->flops_train, .act_bytes = c->act_bytes, .state_bytes = c->state_bytes,
            .kv_bytes_per_token = c->kv_bytes_per_token };
        copy_text(row[i].module, sizeof row[i].module, c->module);
    }
    hid_t data = table_make(s, t), memory = table_type(t);
    if (plan->n_costs) {
        H5(s, t->path, H5Dset_extent(data, &(hsize_t){ (hsize_t)plan->n_costs }));
        H5(s, t->path, H5Dwrite(data, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, row));
    }
    H5Tclose(memory); H5Dclose(data);
    free(row);
}

static void state_make(struct store *s)
{
    uint8_t value[STATUS_COUNT];
    for (int i = 0; i < STATUS_COUNT; i++) value[i] = (uint8_t)i;
    hid_t status = constant_make(s, s->file, "/status", H5T_STD_U8LE, H5T_NATIVE_UINT8, 1, &(uint8_t){ STATUS_CREATED },
                                 (struct label){ "", "a process that was killed could not update it", true });
    number_attribute(s, status, "flag_values", H5T_NATIVE_UINT8, value, STATUS_COUNT);
    text_attribute(s, status, "flag_meanings", "created running finished diverged failed preempted");
    H5Dclose(status);
    H5Dclose(constant_make(s, s->file, "/heartbeat", H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, 1, &(double){ 0 },
                           (struct label){ "s", "Unix time of the last commit", true }));
}

static void attributes_make(struct store *s, const struct attributes *a)
{
    hid_t group = group_make(s, a->group);
    for (int i = 0; i < a->n; i++) {
        const struct attribute *v = &a->attribute[i];
        switch (v->type) {
        case ATTRIBUTE_TEXT: text_attribute(s, group, v->name, v->text ? v->text : ""); break;
        case ATTRIBUTE_INT: number_attribute(s, group, v->name, H5T_STD_I64LE, &v->integer, 1); break;
        case ATTRIBUTE_REAL: number_attribute(s, group, v->name, H5T_IEEE_F64LE, &v->number, 1); break;
        }
    }
    H5Gclose(group);
}

hid_t layout_properties(void)
{
    hid_t how = H5Pcreate(H5P_FILE_CREATE);
    H5Pset_file_space_strategy(how, H5F_FSPACE_STRATEGY_PAGE, false, 1);
    H5Pset_file_space_page_size(how, PAGE);
    H5Pset_link_creation_order(how, H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED);
    return how;
}

void layout_make(struct store *s, const struct store_plan *plan)
{
    static const char *const groups[] = { "/config", "/environment", "/data", "/cost", "/metrics" };
    for (int i = 0; i < COUNT(groups); i++) H5Gclose(group_make(s, groups[i]));
    root_attributes(s);
    config_make(s, plan);
    for (int g = 0; g < STORE_GROUPS; g++) metrics_make(s, plan, g);
    for (int i = 0; i < plan->n_attributes; i++) attributes_make(s, &plan->attributes[i]);
    for (int i = 0; i < TABLE_LIVE; i++) H5Dclose(table_make(s, &store_table[i]));
    cost_make(s, plan);
    state_make(s);
}
