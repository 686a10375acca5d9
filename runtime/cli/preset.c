/* Presets in full: what their files leave to defaults is written out. */
#define _GNU_SOURCE
#include "preset.h"
#include "bind.h"
#include "cli.h"
#include "schema.h"
#include "model/registry.h"
#include "model/training_graph.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char folder[] = "sluice/presets/";

const struct embedded *preset_next(const struct embedded *from)
{
    while (from->path && strncmp(from->path, folder, sizeof folder - 1)) from++;
    return from->path ? from : NULL;
}

void preset_name(const struct embedded *preset, char name[64])
{
    const char *file = preset->path + sizeof folder - 1;
    snprintf(name, 64, "%.*s", (int)(strlen(file) - strlen(".lua")), file);
}

void preset_write_anchor(const char *heading)
{
    for (const char *c = heading; *c; c++) {
        char lower = (char)tolower((unsigned char)*c);
        if (isalnum((unsigned char)lower) || lower == '_' || lower == '-') putchar(lower);
        else if (lower == ' ') putchar('-');
    }
}

/* The file's first lines, which are comments. */
void preset_write_about(const struct embedded *preset)
{
    const char *gap = "";
    for (const char *line = preset->text; !strncmp(line, "-- ", 3); line = strchr(line, '\n') + 1, gap = " ")
        printf("%s%.*s", gap, (int)strcspn(line + 3, "\n"), line + 3);
}

/* ---- settings as Lua ---- */

static void write_value(FILE *to, const struct param *p, const json_t *value);

/* { "gqa", heads = 4, ... }; a module without parameters is its name. */
static void write_module(FILE *to, enum slot slot, const json_t *value)
{
    const char *name = json_string_value(json_is_string(value) ? value : json_object_get(value, "module"));
    const struct param *p = module_find(slot, name)->params;
    if (json_is_string(value) || !p || !p->name) { fprintf(to, "\"%s\"", name); return; }
    fprintf(to, "{ \"%s\"", name);
    for (; p->name; p++) {
        if (!json_object_get(value, p->name)) continue;     /* of a router by name, what its row does not say */
        fprintf(to, ", %s = ", p->name);
        write_value(to, p, json_object_get(value, p->name));
    }
    fprintf(to, " }");
}

/* After how many layers they repeat; all of them where they do not. */
static size_t period_of(const json_t *list)
{
    size_t n = json_array_size(list), period = 1, i = 0;
    while (period + i < n) {
        if (json_equal(json_array_get(list, i), json_array_get(list, period + i))) i++;
        else { period++; i = 0; }
    }
    return 2 * period <= n ? period : n;
}

/* A function of the layer, which counts from 1, by the last layer of each run of equal ones. */
static void write_layers(FILE *to, enum slot slot, const json_t *list)
{
    size_t n = period_of(list);
    fprintf(to, "function(layer)");
    if (n < json_array_size(list)) fprintf(to, " layer = (layer - 1) %% %zu + 1", n);
    for (size_t i = 0; i < n; i++) {
        if (i + 1 < n && json_equal(json_array_get(list, i), json_array_get(list, i + 1))) continue;
        if (i + 1 < n) fprintf(to, " if layer <= %zu then return ", i + 1);
        else fprintf(to, " return ");
        write_module(to, slot, json_array_get(list, i));
        fprintf(to, " end");
    }
}

static void write_list(FILE *to, const struct param *p, const json_t *list)
{
    size_t i;
    json_t *item;
    if (json_is_string(list)) { write_module(to, p->slot, list); return; }
    json_array_foreach(list, i, item) {
        fprintf(to, i ? ", " : "{ ");
        if (p->type == PARAM_INTS) fprintf(to, "%lld", (long long)json_integer_value(item));
        else write_module(to, p->slot, item);
    }
    fprintf(to, json_array_size(list) ? " }" : "{}");
}

static void write_value(FILE *to, const struct param *p, const json_t *value)
{
    const json_t *layers = p->type == PARAM_LAYERS ? json_object_get(value, "layers") : NULL;
    switch (p->type) {
    case PARAM_INT: case PARAM_REAL: fprintf(to, "%.10g", json_number_value(value)); break;
    case PARAM_BOOL: fprintf(to, json_is_true(value) ? "true" : "false"); break;
    case PARAM_CHOICE: case PARAM_TEXT: fprintf(to, "\"%s\"", json_string_value(value)); break;
    case PARAM_INTS: case PARAM_SLOTS: write_list(to, p, value); break;
    case PARAM_LAYERS: if (layers) { write_layers(to, p->slot, layers); break; }       /* fall through */
    case PARAM_SLOT: write_module(to, p->slot, value); break;
    }
}

/* One line, broken after commas. */
static void write_folded(const char *text)
{
    enum { WIDTH = 120 };
    int column = printf("  ");
    for (size_t n; *text; text += n) {
        n = strcspn(text, ",");
        n += text[n] == ',';
        bool breaks = column + text_width(text) > WIDTH && column + (int)n > WIDTH;
        if (breaks) column = printf("\n    ") - 1;
        size_t space = breaks ? strspn(text, " ") : 0;
        column += printf("%.*s", (int)(n - space), text + space);
    }
    putchar('\n');
}

/* Numbers of the model share a line, each slot has one of its own. */
static void write_settings(const json_t *model)
{
    printf("```lua\nsl.model {\n");
    for (const struct param *p = model_schema.params; p->name;) {
        char *text;
        size_t size;
        FILE *to = open_memstream(&text, &size);
        INVARIANT(to, "no memory for a preset");
        bool slot = param_is_slot(p);
        do {
            fprintf(to, "%s%s = ", ftell(to) > 0 ? " " : "", p->name);
            write_value(to, p, json_object_get(model, p->name));
            fputc(',', to);
            p++;
        } while (!slot && p->name && !param_is_slot(p));
        fclose(to);
        write_folded(text);
        free(text);
    }
    printf("}\n```\n");
}

/* ---- all of them ---- */

struct resolved { char name[64]; json_t *model; struct counts counts; };

/* What the program makes of a preset; its graph is built to be counted. */
static struct resolved resolve(const struct embedded *preset)
{
    struct resolved r;
    struct training_graph of;
    struct err e;
    json_t *model;
    preset_name(preset, r.name);
    INVARIANT(script_preset(r.name, &model, &e) == 0, "%s", e.text);
    json_t *config = json_pack("{s:o, s:{}}", "model", model, "train");
    INVARIANT(training_graph_build(&of, config, &e) == 0, "preset %s does not build: %s", r.name, e.text);
    r.model = config_write(&model_schema, &of.model);
    r.counts = model_count(of.leaves);
    training_graph_free(&of);
    json_decref(config);
    return r;
}

void preset_write_all(void)
{
    int n = 0;
    for (const struct embedded *e = embedded_lua; (e = preset_next(e)); e++) n++;
    struct resolved *r = xcalloc((size_t)n + 1, sizeof *r);
    printf("\n## Presets\n\nModels that `sl.preset` gives. Active: parameters that a token uses, one row of an untied "
           "input embedding.\n\n| preset | is | parameters | active |\n|---|---|---|---|\n");
    n = 0;
    for (const struct embedded *e = embedded_lua; (e = preset_next(e)); e++) {
        char total[FORMAT_SIZE], active[FORMAT_SIZE];
        r[n] = resolve(e);
        printf("| [`%s`](#", r[n].name);
        preset_write_anchor(r[n].name);
        printf(") | ");
        preset_write_about(e);
        printf(" | %s | %s |\n", format_count((double)r[n].counts.total, total),
               format_count((double)r[n].counts.active, active));
        n++;
    }
    printf("\nEach with every setting, those that its file leaves to defaults too:\n");
    for (int i = 0; i < n; i++) {
        printf("\n### `%s`\n\n", r[i].name);
        write_settings(r[i].model);
        json_decref(r[i].model);
    }
    free(r);
}

void preset_write_routers(void)
{
    json_t *list = script_routers(), *row;
    size_t i;
    printf("\n## Routers by name\n\nWhat `sl.router` gives ([lua.md](lua.md#slroutername-keys-of)): these keys, and "
           "what they do not say at its default. Experts: how many there are, and how wide, in the model that was "
           "published.\n\n| router | is | experts | keys of `ffn` |\n|---|---|---|---|\n");
    json_array_foreach(list, i, row) {
        const char *sizes = json_string_value(json_object_get(row, "sizes"));
        printf("| `%s` | %s | %s |", json_string_value(json_object_get(row, "name")),
               json_string_value(json_object_get(row, "about")), sizes ? sizes : "");
        const char *gap = "";
        for (const struct param *p = module_find(SLOT_FFN, "moe")->params; p->name; p++) {
            const json_t *value = json_object_get(row, p->name);
            if (!value) continue;
            printf("%s `%s = ", gap, p->name);
            write_value(stdout, p, value);
            printf("`");
            gap = ",";
        }
        printf(" |\n");
    }
    json_decref(list);
}

void preset_write_mixers(void)
{
    json_t *list = script_mixers(), *row;
    size_t i;
    printf("\n## Mixers by name\n\nWhat `sl.mixer` gives ([lua.md](lua.md#slmixername-keys)): `attention` with these "
           "keys, and what they do not say at its default.\n\n| mixer | is | `attention` |\n|---|---|---|\n");
    json_array_foreach(list, i, row) {
        printf("| `%s` | %s | `", json_string_value(json_object_get(row, "name")),
               json_string_value(json_object_get(row, "about")));
        write_module(stdout, SLOT_ATTENTION, json_object_get(row, "attention"));
        printf("` |\n");
    }
    json_decref(list);
}

static void write_names(json_t *list)
{
    json_t *row;
    size_t i;
    json_array_foreach(list, i, row)
        printf("---| \"%s\" # %s\n", json_string_value(json_object_get(row, "name")),
               json_string_value(json_object_get(row, "about")));
    json_decref(list);
}

void preset_write_router_names(void) { write_names(script_routers()); }
void preset_write_mixer_names(void) { write_names(script_mixers()); }
