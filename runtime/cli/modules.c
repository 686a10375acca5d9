/* sluice modules: what a script can switch on, read from the modules' own schemas. */
#include "schema.h"
#include "cli.h"
#include <stdlib.h>
#include <string.h>

static const struct option options[] = {
    { "json", 0, NULL, "machine-readable" },
    { 0 }
};

static void print_params(const struct param *params)
{
    static const char *const columns[] = { "parameter", "type", ">default", "allowed", "unit", "meaning" };
    if (!params || !params->name) { printf("no parameters\n"); return; }
    struct table *t = table_new(columns, COUNT(columns));
    for (const struct param *p = params; p->name; p++) {
        char value[64], range[256];
        param_default_text(p, value, sizeof value);
        param_allowed_text(p, range, sizeof range);
        table_cell(t, "%s", p->name);
        table_cell(t, "%s", param_type_text(p));
        table_cell(t, "%s", value);
        table_cell(t, "%s", range);
        table_cell(t, "%s", p->unit ? p->unit : "");
        table_cell(t, "%s", p->help ? p->help : "");
    }
    table_print(t, stdout);
}

static json_t *params_json(const struct param *params)
{
    json_t *list = json_array();
    for (const struct param *p = params; p && p->name; p++) {
        char value[64], range[256];
        param_default_text(p, value, sizeof value);
        param_allowed_text(p, range, sizeof range);
        json_t *j = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "name", p->name, "type", param_type_text(p),
                              "default", value, "allowed", range, "unit", p->unit ? p->unit : "",
                              "help", p->help ? p->help : "");
        if (p->type == PARAM_INT || p->type == PARAM_REAL || p->type == PARAM_INTS) {
            json_object_set_new(j, "min", json_real(p->min));
            json_object_set_new(j, "max", json_real(p->max));
        }
        json_array_append_new(list, j);
    }
    return list;
}

static json_t *entry_json(const struct entry *x)
{
    return json_pack("{s:s, s:s, s:s, s:s*, s:o}", "slot", x->slot, "module", x->name,
                     "about", x->about ? x->about : "", "note", x->note, "params", params_json(x->params));
}

static void print_list(const struct entry *entry, int n)
{
    static const char *const columns[] = { "slot", "module", "what it is" };
    struct table *t = table_new(columns, COUNT(columns));
    for (int i = 0; i < n; i++) {
        bool same = i && !strcmp(entry[i].slot, entry[i - 1].slot);
        table_cell(t, "%s", same ? "" : entry[i].slot);
        table_cell(t, "%s", entry[i].name);
        table_cell(t, "%s", entry[i].about ? entry[i].about : "");
    }
    table_print(t, stdout);
}

/* Sentences run on to where the terminal ends; formulas, which are indented, have lines of their own. */
static void print_note(const char *note)
{
    char *text = xstrdup(note);
    for (char *line = text, *end; *(end = line + strcspn(line, "\n")); line = end + 1)
        if (*line != ' ' && end[1] != ' ') *end = ' ';
    text_print(stdout, 0, 0, "%s\n", text);
    free(text);
}

static void print_entry(const struct entry *x)
{
    const char *bold = cli_paint(stdout, PAINT_BOLD), *off = cli_paint(stdout, PAINT_OFF);
    if (strcmp(x->slot, x->name))
        printf("%s%s = \"%s\"%s  %s\n", bold, x->slot, x->name, off, x->about ? x->about : "");
    else printf("%s%s%s  %s\n", bold, x->name, off, x->about ? x->about : "");
    if (x->note) print_note(x->note);
    print_params(x->params);
}

/* "gqa", "attention.gqa" or "attention_gqa"; a slot's name means all of its modules. */
static bool matches(const struct entry *x, const char *given)
{
    size_t n = strlen(x->slot);
    if (!strcmp(given, x->name) || !strcmp(given, x->slot)) return true;
    return !strncmp(given, x->slot, n) && (given[n] == '.' || given[n] == '_') && !strcmp(given + n + 1, x->name);
}

static enum code show(const struct entry *entry, int n, const char *name, bool json)
{
    const char **names = xcalloc((size_t)n + 1, sizeof *names);
    json_t *list = json_array();
    int found = 0;
    for (int i = 0; i < n; i++) {
        names[i] = entry[i].name;
        if (!matches(&entry[i], name)) continue;
        if (json) json_array_append_new(list, entry_json(&entry[i]));
        else { if (found) putchar('\n'); print_entry(&entry[i]); }
        found++;
    }
    const char *near = found ? NULL : nearest_name(name, names);
    free(names);
    if (found && json) cli_json(list); else json_decref(list);
    if (found) return CODE_OK;
    return near ? cli_fail(CODE_USAGE, "no module '%s' (did you mean '%s'?)", name, near)
                : cli_fail(CODE_USAGE, "no module '%s'; 'sluice modules' lists them", name);
}

static enum code list(const struct entry *entry, int n, bool json)
{
    json_t *all = json_array();
    for (int i = 0; i < n && json; i++) json_array_append_new(all, entry_json(&entry[i]));
    if (json) cli_json(all);
    else { print_list(entry, n); json_decref(all); }
    return CODE_OK;
}

static enum code run(const struct call *c)
{
    const char *what = c->n_words ? c->word[0] : "list";
    bool json = cli_flag(c, "json");
    struct entry *entry;
    int n = entries_new(&entry);
    enum code code;
    if (!strcmp(what, "list") && c->n_words < 2) code = list(entry, n, json);
    else if (!strcmp(what, "show") && c->n_words == 2) code = show(entry, n, c->word[1], json);
    else if (!strcmp(what, "show")) code = cli_usage(c, "show which module?");
    else code = cli_usage(c, "'%s': must be list, or show NAME", what);
    free(entry);
    return code;
}

const struct command command_modules = {
    .name = "modules", .about = "the modules that a script can switch on, and their parameters",
    .usage = "[list | show NAME]",
    .example = "sluice modules\nsluice modules show ffn.moe\nsluice modules show train", .options = options, .least = 0,
    .most = 2, .run = run,
    .more = "NAME is a module (\"moe\", \"ffn.moe\"), a slot (\"router\"), or \"model\" or \"train\" for the keys of "
            "those tables. What is said of a module, formulas and who published them, is what its file begins with.",
};
