/* A model in one file. */
#include "model_file.h"
#include "adapters.h"
#include "safetensors.h"
#include "base/file.h"
#include "model/mapping.h"

#include <errno.h>
#include <stdlib.h>

static const char config_key[] = "sluice.config";

/* ---- writing ---- */

static bool is_written(const struct leaf *l, const struct model_form *form)
{
    return leaf_is_own(l) && !(form->merged && leaf_is_factor(l));
}

static struct stored tensor_as(const struct leaf *l, const struct model_form *form)
{
    bool matrix = l->kind == LEAF_WEIGHT && l->values.rank > 1;
    return stored_new(l->path, matrix ? form->dtype : "F32", l->values);
}

/* A model without adapters has another configuration. */
static json_t *config_as(const struct model_source *from, const struct model_form *form, struct err *e)
{
    json_t *config = json_deep_copy(from->config), *none = json_string("none");
    if (form->merged && config_set(&model_schema, json_object_get(config, "model"), "adapter", none, e)) {
        json_decref(config);
        config = NULL;
    }
    json_decref(none);
    return config;
}

static json_t *about_of(const json_t *config)
{
    char *text = config_canonical(config);
    json_t *about = json_pack("{s:s}", config_key, text);
    free(text);
    return about;
}

static int write_tensor(FILE *to, const struct model_source *from, const struct model_form *form, const struct leaf *l,
                        struct err *e)
{
    struct stored t = tensor_as(l, form);
    int64_t n = shape_count(l->values), lost;
    real *values = xmalloc((size_t)n * sizeof *values);
    float *single = xmalloc((size_t)n * sizeof *single);
    void *stored = xmalloc(t.bytes);
    if (form->merged) adapters_values(from->adapter, from->leaves, from->state, l, values);
    else state_get_values(from->state, l, values);
    for (int64_t i = 0; i < n; i++) single[i] = (float)values[i];
    lost = safetensors_narrow(t.dtype, single, n, stored);
    if (lost < 0) fwrite(stored, 1, t.bytes, to);
    else err_set(e, "%s: value %lld is %g, which %s has no room for; BF16 has", l->path, (long long)lost,
                 (double)single[lost], t.dtype);
    free(values);
    free(single);
    free(stored);
    return lost < 0 ? 0 : -1;
}

int model_file_write(const char *path, const struct model_source *from, const struct model_form *form, struct err *e)
{
    const struct leaves *l = from->leaves;
    struct stored *tensor = xcalloc((size_t)l->n + 1, sizeof *tensor);
    size_t bytes;
    int n = 0, failure = 0;
    errno = 0;
    json_t *config = config_as(from, form, e), *about = config ? about_of(config) : NULL;
    struct file *file = config ? file_begin(path, FILE_ANY, e) : NULL;
    for (int i = 0; i < l->n; i++) if (is_written(l->leaf[i], form)) tensor[n++] = tensor_as(l->leaf[i], form);
    char *header = safetensors_header(n, tensor, about, &bytes);
    if (file) fwrite(header, 1, bytes, file_stream(file));
    for (int i = 0; i < l->n && file && !failure; i++)
        if (is_written(l->leaf[i], form)) failure = write_tensor(file_stream(file), from, form, l->leaf[i], e);
    free(header);
    free(tensor);
    json_decref(about);
    json_decref(config);
    if (!file) return -1;
    if (!failure) return file_commit(file, e);
    file_abandon(file);
    errno = 0;
    return -1;
}

/* ---- reading ---- */

json_t *model_file_config(const char *path, struct err *e)
{
    struct safetensors *file;
    if (safetensors_open(&file, path, e)) return NULL;
    const char *text = safetensors_about(file, config_key);
    json_t *config = text ? json_loads(text, 0, NULL) : NULL;
    safetensors_close(file);
    if (!config)
        err_set(e, "%s: does not say which model's weights these are; init.from takes them for one that a script "
                   "describes", path);
    return config;
}

static int read_tensor(const struct safetensors *file, const struct leaves *leaves, struct state *state,
                       const struct leaf *l, struct err *e)
{
    const struct stored *t = safetensors_find(file, l->path);
    const struct leaf *average = leaves_average(leaves, l);
    char want[64], got[64];
    if (!t) return err_set(e, "has no '%s'", l->path);
    if (!shape_equal(stored_shape(t), l->values))
        return err_set(e, "'%s' is %s, the model's is %s", l->path, shape_text(stored_shape(t), got),
                       shape_text(l->values, want));
    float *single = safetensors_floats(file, t, e);
    if (!single) return -1;
    int64_t n = shape_count(l->values);
    real *values = xmalloc((size_t)n * sizeof *values);
    for (int64_t i = 0; i < n; i++) values[i] = (real)single[i];
    state_put_values(state, l, values);
    if (average) state_put(state, average, values);
    free(values);
    free(single);
    return 0;
}

int model_file_read(const char *path, const struct leaves *leaves, struct state *state, struct err *e)
{
    struct safetensors *file;
    int failure = 0;
    if (safetensors_open(&file, path, e)) return -1;
    for (int i = 0; i < safetensors_count(file) && !failure; i++) {
        const char *name = safetensors_tensor(file, i)->name;
        const struct leaf *l = leaves_find(leaves, name);
        if (!l || !leaf_is_own(l)) failure = err_set(e, "holds '%s', which the model does not have", name);
    }
    for (int i = 0; i < leaves->n && !failure; i++)
        if (leaf_is_own(leaves->leaf[i])) failure = read_tensor(file, leaves, state, leaves->leaf[i], e);
    safetensors_close(file);
    return failure ? err_prefix(e, "%s: ", path) : 0;
}
