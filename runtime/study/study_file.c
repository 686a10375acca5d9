/* study.json: a resolved study, written and read back. */
#include "base/regular.h"
#include "study.h"
#include "base/file.h"
#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { STUDY_MOST = 1 << 28 };

static const char *text_of(struct study *s, const json_t *given, const char *key, const char *otherwise)
{
    const char *text = json_string_value(json_object_get(given, key));
    return arena_text(s->arena, "%s", text ? text : otherwise);
}

void study_free(struct study *s)
{
    if (!s) return;
    for (int i = 0; i < s->n_variants; i++) json_decref(s->variant[i].config);
    json_decref(s->required);
    json_decref(s->record);
    arena_free(s->arena);
    free(s);
}

int study_point_named(const struct study *s, const char *name)
{
    for (int i = 0; i < s->n_points; i++) {
        const struct point *p = &s->point[i];
        const char *variant = s->variant[p->variant].name;
        size_t n = strlen(variant);
        char *end;
        if (strncmp(name, variant, n) != 0 || name[n] != '/') continue;
        if (strtol(name + n + 1, &end, 10) == p->replicate && end > name + n + 1 && !*end) return i;
    }
    return -1;
}

static int select_one(const struct study *s, const char *name, bool *wanted, struct err *e)
{
    int found = study_variant(s, name), point = study_point_named(s, name);
    if (point >= 0) { wanted[point] = true; return 0; }
    char hint[HINT];
    if (found < 0)
        return err_set(e, "%s: no such variant%s%s", name, strchr(name, '/') ? " and replicate" : "",
                       did_you_mean(study_nearest(s, name), hint));
    for (int i = 0; i < s->n_points; i++)
        wanted[i] |= s->point[i].variant == found || s->point[i].variant == s->variant[found].baseline;
    return 0;
}

int study_select(struct study *s, const char *const *names, int n, struct err *e)
{
    bool *wanted = arena_alloc(s->arena, (size_t)(s->n_points + 1) * sizeof *wanted);
    int left = 0;
    for (int k = 0; k < n; k++) if (select_one(s, names[k], wanted, e)) return -1;
    for (int i = 0; i < s->n_points; i++) if (wanted[i]) s->point[left++] = s->point[i];
    s->n_points = left;
    return 0;
}

char *study_point_path(const struct study *s, int point, const char *file)
{
    size_t n = strlen(s->dir) + strlen(s->point[point].dir) + strlen(file) + 3;
    char *path = xmalloc(n);
    snprintf(path, n, "%s/%s%s%s", s->dir, s->point[point].dir, *file ? "/" : "", file);
    return path;
}

static json_t *hash_json(struct hash h)
{
    char text[33];
    hash_print(h, text);
    return json_string(text);
}

/* Studies of before wrote true for always. */
static enum ahead ahead_of_json(const json_t *json)
{
    const char *text = json_string_value(json);
    for (int i = AHEAD_ALWAYS; text && i > AHEAD_NEVER; i--) if (strcmp(text, ahead_name[i]) == 0) return (enum ahead)i;
    return json_is_true(json) ? AHEAD_ALWAYS : AHEAD_NEVER;
}

static struct hash hash_of_json(const json_t *json)
{
    unsigned long long high = 0, low = 0;
    const char *text = json_string_value(json);
    if (text) sscanf(text, "%16llx%16llx", &high, &low);
    return (struct hash){ low, high };
}

static json_t *variant_json(const struct variant *v)
{
    return json_pack("{s:s, s:i, s:O, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:I, s:I, s:I, s:I, s:I, s:s}",
                     "name", v->name, "baseline", v->baseline,
                     "config", v->config, "fingerprint", hash_json(v->fingerprint), "hash", hash_json(v->hash),
                     "params_total", (json_int_t)v->counts.total, "params_active", (json_int_t)v->counts.active,
                     "params_active_embedded", (json_int_t)v->counts.active_embedded,
                     "params_non_embedding", (json_int_t)v->counts.non_embedding,
                     "params_trained", (json_int_t)v->counts.trained,
                     "train_flops_per_token", v->train_flops_per_token,
                     "prompt_flops_per_token", v->prompt_flops_per_token, "start_flops", v->start_flops,
                     "kv_bytes_per_token", (json_int_t)v->kv_bytes_per_token,
                     "draft_bytes_per_token", (json_int_t)v->draft_bytes_per_token,
                     "memory_bytes", (json_int_t)v->memory_bytes, "offloaded_bytes",
                     (json_int_t)v->offloaded_bytes, "state_bytes", (json_int_t)v->state_bytes,
                     "looks_ahead", ahead_name[v->looks_ahead]);
}

json_t *study_write(const struct study *s)
{
    json_t *variants = json_array(), *points = json_array();
    for (int i = 0; i < s->n_variants; i++) json_array_append_new(variants, variant_json(&s->variant[i]));
    for (int i = 0; i < s->n_points; i++) {
        const struct point *p = &s->point[i];
        json_array_append_new(points, json_pack("{s:i, s:i, s:I, s:s}", "variant", p->variant,
                                                "replicate", p->replicate, "seed", (json_int_t)p->seed, "dir", p->dir));
    }
    json_t *json = json_pack("{s:s, s:i, s:s, s:s, s:s, s:s, s:s, s:{s:s}, s:i, s:i, s:o, s:o}", "format",
                             "sluice-study", "version", STUDY_VERSION, "name", s->name, "script_path", s->script_path,
                             "script_text", s->script_text, "data", s->data_path, "primary", s->primary, "test",
                             "family", s->family, "baseline", s->baseline, "replicates", s->replicates, "variants",
                             variants, "points", points);
    if (json && s->choices) json_object_set_new(json, "choices", json_string(s->choices));
    if (json && s->required) json_object_set(json, "required", s->required);
    if (json && s->record) json_object_set(json, "record", s->record);
    if (json && s->match_quantity)
        json_object_set_new(json, "match", json_pack("{s:s, s:s, s:f}", "quantity", s->match_quantity,
                                                     "adjust", s->match_adjust, "tolerance", s->match_tolerance));
    return json;
}

static int make_folders(const char *path, struct err *e)
{
    char *copy = xstrdup(path);
    for (char *at = copy + 1;; at++) {
        if (*at && *at != '/') continue;
        char old = *at;
        *at = 0;
        if (mkdir(copy, 0777) != 0 && errno != EEXIST) {
            err_set(e, "%s: the folder cannot be made: %s", copy, strerror(errno));
            free(copy);
            return -1;
        }
        *at = old;
        if (!old) break;
    }
    free(copy);
    return 0;
}

int study_save(const struct study *s, struct err *e)
{
    for (int i = 0; i < s->n_points; i++) {
        char *path = study_point_path(s, i, "");
        int failure = make_folders(path, e);
        free(path);
        if (failure) return -1;
    }
    char *path = text_new("%s/study.json", s->dir);
    struct file *file = file_begin(path, FILE_REGULAR, e);
    free(path);
    if (!file) return -1;
    json_t *json = study_write(s);
    INVARIANT(json, "study.json cannot be made");
    json_dumpf(json, file_stream(file), JSON_INDENT(1) | JSON_REAL_PRECISION(17));
    fputc('\n', file_stream(file));
    json_decref(json);
    return file_commit(file, e);
}

static int64_t integer_of(const json_t *v, const char *key) { return json_integer_value(json_object_get(v, key)); }

static int check_baseline(const struct study *s, int variant, struct err *e)
{
    if (variant >= 0 && variant < s->n_variants) return 0;
    return err_set(e, "the baseline is variant %d of %d", variant, s->n_variants);
}

/* Studies of before have one baseline. */
static int open_variants(struct study *s, const json_t *list, struct err *e)
{
    s->n_variants = (int)json_array_size(list);
    s->variant = arena_alloc(s->arena, (size_t)(s->n_variants + 1) * sizeof *s->variant);
    for (int i = 0; i < s->n_variants; i++) {
        const json_t *v = json_array_get(list, (size_t)i), *baseline = json_object_get(v, "baseline");
        s->variant[i] = (struct variant){
            .name = text_of(s, v, "name", "?"),
            .baseline = baseline ? (int)json_integer_value(baseline) : s->baseline,
            .config = json_incref(json_object_get(v, "config")),
            .fingerprint = hash_of_json(json_object_get(v, "fingerprint")),
            .hash = hash_of_json(json_object_get(v, "hash")),
            .counts = { integer_of(v, "params_total"), integer_of(v, "params_active"),
                        integer_of(v, "params_non_embedding"), integer_of(v, "params_active_embedded"),
                        integer_of(v, "params_trained") },
            .train_flops_per_token = json_number_value(json_object_get(v, "train_flops_per_token")),
            .memory_bytes = (size_t)integer_of(v, "memory_bytes"),
            .offloaded_bytes = (size_t)integer_of(v, "offloaded_bytes"),
            .prompt_flops_per_token = json_number_value(json_object_get(v, "prompt_flops_per_token")),
            .start_flops = json_number_value(json_object_get(v, "start_flops")),
            .kv_bytes_per_token = (size_t)integer_of(v, "kv_bytes_per_token"),
            .draft_bytes_per_token = (size_t)integer_of(v, "draft_bytes_per_token"),
            .state_bytes = (size_t)integer_of(v, "state_bytes"),
            .looks_ahead = ahead_of_json(json_object_get(v, "looks_ahead")),
            .replays = json_object_get(json_object_get(v, "config"), "choices") != NULL,
        };
        if (check_baseline(s, s->variant[i].baseline, e)) return -1;
    }
    return check_baseline(s, s->baseline, e);
}

static int open_points(struct study *s, const json_t *list, struct err *e)
{
    s->n_points = (int)json_array_size(list);
    s->point = arena_alloc(s->arena, (size_t)(s->n_points + 1) * sizeof *s->point);
    for (int i = 0; i < s->n_points; i++) {
        const json_t *p = json_array_get(list, (size_t)i);
        int variant = (int)json_integer_value(json_object_get(p, "variant"));
        if (variant < 0 || variant >= s->n_variants)
            return err_set(e, "point %d names variant %d of %d", i, variant, s->n_variants);
        s->point[i] = (struct point){ .variant = variant, .trunk = -1, .start = -1,
                                      .replicate = (int)json_integer_value(json_object_get(p, "replicate")),
                                      .seed = (uint64_t)json_integer_value(json_object_get(p, "seed")),
                                      .dir = (char *)(uintptr_t)text_of(s, p, "dir", "?") };
    }
    return 0;
}

void study_read_head(struct study *s, const json_t *json)
{
    s->name = text_of(s, json, "name", "study");
    s->script_path = text_of(s, json, "script_path", "");
    s->script_text = text_of(s, json, "script_text", "");
    s->data_path = text_of(s, json, "data", "");
    if (json_object_get(json, "choices")) s->choices = text_of(s, json, "choices", "");
    s->required = json_incref(json_object_get(json, "required"));
    s->record = json_incref(json_object_get(json, "record"));
    s->primary = text_of(s, json, "primary", "eval.loss");
    s->family = text_of(s, json_object_get(json, "test"), "family", "sidak");
}

int study_read(const json_t *json, struct study **out, struct err *e)
{
    struct study *s = xcalloc(1, sizeof *s);
    s->arena = arena_new();
    study_read_head(s, json);
    s->baseline = (int)json_integer_value(json_object_get(json, "baseline"));
    s->replicates = (int)json_integer_value(json_object_get(json, "replicates"));
    const json_t *match = json_object_get(json, "match");
    if (match) {
        s->match_quantity = text_of(s, match, "quantity", "");
        s->match_adjust = text_of(s, match, "adjust", "");
        s->match_tolerance = json_number_value(json_object_get(match, "tolerance"));
    }
    int bad = open_variants(s, json_object_get(json, "variants"), e) ||
              open_points(s, json_object_get(json, "points"), e);
    if (bad) { study_free(s); return -1; }
    *out = s;
    return 0;
}

int study_open(const char *dir, struct study **out, struct err *e)
{
    char *path = text_new("%s/study.json", dir);
    json_error_t failure;
    size_t size;
    char *text = regular_text(path, STUDY_MOST, &size, e);
    if (!text) {
        err_prefix(e, "%s: ", path);
        free(path);
        return -1;
    }
    json_t *json = json_loadb(text, size, 0, &failure);
    free(text);
    const char *format = json_string_value(json_object_get(json, "format"));
    json_int_t version = json_integer_value(json_object_get(json, "version"));
    int bad = 0;
    if (!json) bad = err_set(e, "%s: %s (line %d): no study can be read here", path, failure.text, failure.line);
    else if (!format || strcmp(format, "sluice-study") != 0) bad = err_set(e, "%s: is no sluice-study file", path);
    else if (version != STUDY_VERSION)
        bad = err_set(e, "%s: has version %lld, this program reads %d", path, (long long)version, STUDY_VERSION);
    else if (study_read(json, out, e)) bad = err_prefix(e, "%s: ", path);
    else (*out)->dir = arena_text((*out)->arena, "%s", dir);
    free(path);
    json_decref(json);
    return bad ? -1 : 0;
}
