/* sluice ckpt inspect: what a checkpoint or a file of weights holds. */
#include "ckpt.h"
#include "export.h"
#include "model/mapping.h"
#include "train/safetensors.h"
#include "train/trained.h"

#include <fnmatch.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Tensors that are alike but for their layer, or one. square: the sum; largest: of |x|; both of finite values of what
   is kept as floats. */
struct line {
    const char *name; char type[192];
    int tensors; int64_t values, finite, broken; uint64_t bytes; double square, largest;
};
struct looked { struct arena *arena; int n; struct line *line; };

static void measure(const struct safetensors *file, const struct stored *t, struct line *l)
{
    struct err other;
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++) n *= t->dim[i];
    l->tensors++;
    l->values += n;
    l->bytes += t->bytes;
    float *value = safetensors_floats(file, t, &other);
    for (int64_t i = 0; i < n && value; i++) {
        if (!isfinite(value[i])) { l->broken++; continue; }
        l->finite++;
        l->square += (double)value[i] * (double)value[i];
        l->largest = fmax(l->largest, fabs((double)value[i]));
    }
    free(value);
}

static bool is_asked(const char *name, const char *const *pattern, int n)
{
    for (int i = 0; i < n; i++) if (fnmatch(pattern[i], name, 0) == 0) return true;
    return n == 0;
}

/* "PREFIXlayers.*.REST" */
static const char *without_layer(struct arena *a, const char *name)
{
    const char *layers = strstr(name, "layers."), *rest;
    if (!layers || (layers > name && layers[-1] != '.') || path_layer(layers, &rest) < 0) return name;
    return arena_text(a, "%.*slayers.*.%s", (int)(layers - name), name, rest);
}

static void add(struct looked *all, const struct safetensors *file, const struct stored *t, bool alone)
{
    struct line line = { .name = alone ? t->name : without_layer(all->arena, t->name) };
    int k = 0;
    stored_text(t, line.type);
    while (k < all->n && (strcmp(all->line[k].name, line.name) || strcmp(all->line[k].type, line.type))) k++;
    if (k == all->n) all->line[all->n++] = line;
    measure(file, t, &all->line[k]);
}

static struct looked look(const struct safetensors *file, const char *const *pattern, int n, bool alone)
{
    struct looked all = { .arena = arena_new() };
    all.line = arena_alloc(all.arena, (size_t)(safetensors_count(file) + 1) * sizeof *all.line);
    for (int i = 0; i < safetensors_count(file); i++) {
        const struct stored *t = safetensors_tensor(file, i);
        if (is_asked(t->name, pattern, n)) add(&all, file, t, alone);
    }
    return all;
}

/* ---- to be read ---- */

static void print_parts(const struct looked *all)
{
    static const char *const columns[] = { "part", ">tensors", ">values", ">bytes" },
                      *const part[] = { "model", "average", "optim", "copy", "guard" };
    struct table *t = table_new(columns, COUNT(columns));
    for (int i = 0; i < COUNT(part); i++) {
        struct line sum = { 0 };
        char values[FORMAT_SIZE], bytes[FORMAT_SIZE];
        for (int k = 0; k < all->n; k++) {
            if (strcmp(checkpoint_part(all->line[k].name), part[i])) continue;
            sum.tensors += all->line[k].tensors;
            sum.values += all->line[k].values;
            sum.bytes += all->line[k].bytes;
        }
        if (!sum.tensors) continue;
        table_cell(t, "%s", part[i]);
        table_cell(t, "%d", sum.tensors);
        table_cell(t, "%s", format_count((double)sum.values, values));
        table_cell(t, "%s", format_bytes((double)sum.bytes, bytes));
    }
    table_print(t, stdout);
}

static double rms_of(const struct line *l) { return l->finite ? sqrt(l->square / (double)l->finite) : NAN; }

static void print_tensors(const struct looked *all, bool everything)
{
    static const char *const columns[] = { "tensor", ">of", "type", ">bytes", ">rms", ">largest", ">not finite" };
    struct table *t = table_new(columns, COUNT(columns));
    for (int i = 0; i < all->n; i++) {
        const struct line *l = &all->line[i];
        char bytes[FORMAT_SIZE], rms[FORMAT_SIZE], largest[FORMAT_SIZE];
        if (!everything && strcmp(checkpoint_part(l->name), "model")) continue;
        table_cell(t, "%s", l->name);
        table_cell(t, "%d", l->tensors);
        table_cell(t, "%s", l->type);
        table_cell(t, "%s", format_bytes((double)l->bytes, bytes));
        table_cell(t, "%s", format_figures(rms_of(l), 3, rms));
        table_cell(t, "%s", format_figures(l->finite ? l->largest : NAN, 3, largest));
        if (l->broken) table_cell(t, "%lld", (long long)l->broken);
        else table_cell(t, "%s", "");
        table_paint(t, l->broken ? PAINT_BAD : PAINT_OFF);
    }
    table_print(t, stdout);
}

static json_t *tensors_json(const struct looked *all)
{
    json_t *list = json_array();
    for (int i = 0; i < all->n; i++) {
        const struct line *l = &all->line[i];
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:I, s:I, s:o, s:o, s:I}", "tensor", l->name, "part",
                                              checkpoint_part(l->name), "type", l->type, "values",
                                              (json_int_t)l->values, "bytes", (json_int_t)l->bytes, "rms",
                                              export_number(rms_of(l)), "largest",
                                              export_number(l->finite ? l->largest : NAN), "not_finite",
                                              (json_int_t)l->broken));
    }
    return list;
}

static void print_averaged(const json_t *trainer_state)
{
    size_t i;
    json_t *of;
    json_array_foreach(json_object_get(trainer_state, "averaged"), i, of)
        printf("%-10s %s, weight %g\n", i ? "" : "averaged", json_string_value(json_object_get(of, "path")),
               json_number_value(json_object_get(of, "weight")));
}

enum code ckpt_inspect(const struct call *c)
{
    struct checkpoint at;
    struct safetensors *file;
    json_t *trainer_state;
    const char **pattern;
    char bytes[FORMAT_SIZE];
    struct err e;
    if (c->n_words != 2) return cli_usage(c, "inspect one PATH");
    if (trained_open(c->word[1], &file, &at, &trainer_state, &e)) return cli_fail(CODE_INPUT, "%s", e.text);
    if (!trainer_state) {
        at.bytes = safetensors_bytes(file);
        hash_print(safetensors_hash(file), at.hash);
    }
    bool json = cli_flag(c, "json");
    int n = cli_values(c, "tensor", &pattern);
    struct looked all = look(file, pattern, n, n > 0 || json);
    enum code code = n && !all.n ? cli_fail(CODE_INPUT, "%s: has no tensor '%s'", at.path, pattern[0]) : CODE_OK;
    if (code == CODE_OK && json)
        cli_json(json_pack("{s:s, s:O?, s:I, s:s, s:o?, s:o}", "path", at.path, "extra", trainer_state, "bytes",
                           (json_int_t)at.bytes, "xxh128", at.hash, "step",
                           trainer_state ? json_integer(at.step) : NULL, "tensors", tensors_json(&all)));
    else if (code == CODE_OK) {
        printf("%-10s %s\n", trainer_state ? "checkpoint" : "file", at.path);
        if (trainer_state) printf("%-10s %lld\n", "step", (long long)at.step);
        printf("%-10s %s, XXH128 %s\n", "state", format_bytes((double)at.bytes, bytes), at.hash);
        print_averaged(trainer_state);
        putchar('\n');
        if (!n) print_parts(&all);
        if (!n) putchar('\n');
        print_tensors(&all, n > 0);
    }
    free(pattern);
    arena_free(all.arena);
    safetensors_close(file);
    json_decref(trainer_state);
    return code;
}
