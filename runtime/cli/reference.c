/* sluice reference: pages and editor types written from the tables that the program itself reads. */
#include "schema.h"
#include "cli.h"
#include "preset.h"
#include "graph/signature.h"
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT = 512 };

/* Text inside a table of Markdown, where a bar ends the cell. */
static void cell(const char *text)
{
    for (; *text; text++) printf(*text == '|' ? "\\|" : "%c", *text);
}

/* ---- modules ---- */

static void write_params(const struct param *params)
{
    if (!params || !params->name) { printf("No parameters.\n"); return; }
    printf("| parameter | type | default | allowed | unit | meaning |\n|---|---|---|---|---|---|\n");
    for (const struct param *p = params; p->name; p++) {
        char value[TEXT], allowed[TEXT];
        param_default_text(p, value, sizeof value);
        param_allowed_text(p, allowed, sizeof allowed);
        printf("| `%s` | %s | `%s` | %s | %s | ", p->name, param_type_text(p), value, allowed, p->unit ? p->unit : "");
        cell(p->help ? p->help : "");
        printf(" |\n");
    }
}

/* What the optimizers ask of a weight's role. */
static void write_roles(void)
{
    printf("\n## Roles of weights\n\nA weight's role decides whether `train.optim.decay` is for it, and whether `muon` "
           "moves it by orthogonalised momentum or by AdamW.\n`sluice plan SCRIPT --weights VARIANT` lists every "
           "weight of a variant.\n\n| role | weights | decays | moved by `muon` as |\n|---|---|---|---|\n");
    for (int i = 0; i < ROLE_COUNT; i++) {
        const struct role_rule *r = &role_rule[i];
        printf("| `%s` | %s | %s | %s |\n", r->name, r->about,
               !r->exempt ? "yes" : i == ROLE_GAIN ? "where `decay_gains` is set"
               : i == ROLE_EMBED || i == ROLE_TABLE ? "where `decay_tables` is set" : "no",
               r->outside ? "AdamW" : "Muon");
    }
}

/* A row a slot: where it is, what for, and who fills it. */
static void write_slots(void)
{
    printf("\n| slot | is | modules |\n|---|---|---|\n");
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        char path[TEXT], allowed[2 * TEXT], heading[2 * TEXT];
        const struct param *p = slot_path((enum slot)slot, path, sizeof path);
        param_allowed_text(p, allowed, sizeof allowed);
        snprintf(heading, sizeof heading, "%s: %s", path, p->help);
        printf("| [`%s`](#", path);
        preset_write_anchor(heading);
        printf(") | %s | %s |\n", p->help, allowed);
    }
}

static enum code write_modules(const struct call *c)
{
    (void)c;
    struct entry *entry;
    int n = entries_new(&entry);
    const char *last = "";
    printf("# Modules and their parameters\n\nWritten by `sluice reference modules` from the schemas that the program "
           "checks scripts with.\nHow the tables are used in a script: [lua.md](lua.md).\n");
    write_slots();
    for (int i = 0; i < n; i++) {
        const struct entry *x = &entry[i];
        bool table = !strcmp(x->slot, x->name);             /* model, train */
        if (table) printf("\n## `%s`: %s\n\n", x->name, x->about);
        else if (strcmp(x->slot, last)) {
            char path[TEXT];
            int slot = 0;
            while (strcmp(slot_name[slot], x->slot)) slot++;
            const struct param *p = slot_path((enum slot)slot, path, sizeof path);
            printf("\n## `%s`: %s\n", path, p->help);
        }
        if (!table) printf("\n### `\"%s\"`: %s\n\n```text\n%s\n```\n\n", x->name, x->about, x->note);
        write_params(x->params);
        last = x->slot;
    }
    write_roles();
    preset_write_routers();
    preset_write_mixers();
    preset_write_all();
    free(entry);
    return CODE_OK;
}

/* ---- commands ---- */

static void write_options(const struct option *o)
{
    printf("| option | meaning |\n|---|---|\n");
    for (; o && o->name; o++) {
        printf("| `--%s%s", o->name, o->argument ? " " : "");
        cell(o->argument ? o->argument : "");
        printf("`");
        if (o->letter) printf(", `-%c`", o->letter);
        printf(" | ");
        cell(o->help);
        printf(" |\n");
    }
}

static enum code write_commands(const struct call *call)
{
    printf("# Commands\n\nWritten by `sluice reference commands` from the tables behind `sluice COMMAND --help`.\n\n"
           "Data goes to stdout, everything else to stderr. Every command takes:\n\n");
    write_options(cli_common);
    printf("\nExit codes:\n\n| code | meaning |\n|---|---|\n");
    for (int i = 0; cli_codes[i]; i++) {
        const char *space = strchr(cli_codes[i], ' ');
        printf("| %.*s | %s |\n", (int)(space - cli_codes[i]), cli_codes[i], space + 1);
    }
    for (const struct command *const *c = call->commands; *c; c++) {
        printf("\n## `sluice %s %s`\n\n%c%s.\n\n```sh\n%s\n```\n", (*c)->name, (*c)->usage, toupper((*c)->about[0]),
               (*c)->about + 1, (*c)->example);
        if ((*c)->options && (*c)->options->name) { printf("\n"); write_options((*c)->options); }
        if ((*c)->more) printf("\n```text\n%s\n```\n", (*c)->more);
    }
    return CODE_OK;
}

/* ---- ops ---- */

/* "index I32 [T,K], margin REAL [T]"; returns how many. */
static int write_values(const struct op *op, bool (*value_at)(const struct op *op, int i, struct op_value *out))
{
    struct op_value v;
    int i = 0;
    for (; value_at(op, i, &v); i++) {
        printf("%s%s%s%s%s", i ? ", " : "", v.name, v.many ? ".." : v.optional ? "?" : "", v.changed ? "*" : "",
               *v.dtype ? " " : "");
        printf("%s%s%s%s", v.dtype, *v.shape ? " [" : "", v.shape, *v.shape ? "]" : "");
        if (v.many) break;
    }
    return i;
}

static void write_op(const struct op *op)
{
    printf("\n## `%s`\n\n", op->name);
    for (const char *at = op->about; *at; at++) printf(*at == '*' || *at == '_' ? "\\%c" : "%c", *at);
    printf(".\n\n```text\n");
    write_values(op, op_output);
    printf("\n  = %s(", op->name);
    write_values(op, op_input);
    for (const struct param *p = op->attributes; p && p->name; p++) printf(", %s", p->name);
    printf(")\n```\n");
    if (op->attributes)
        printf("\n| attribute | type | default | allowed | unit | meaning |\n|---|---|---|---|---|---|\n");
    for (const struct param *p = op->attributes; p && p->name; p++) {
        char value[TEXT] = "", allowed[TEXT];
        if (!isnan(p->value)) param_default_text(p, value, sizeof value);
        param_allowed_text(p, allowed, sizeof allowed);
        printf("| `%s` | %s | %s | %s | %s | ", p->name, param_type_text(p), value, allowed, p->unit);
        cell(p->help);
        printf(" |\n");
    }
}

static enum code write_ops(const struct call *c)
{
    (void)c;
    printf("# Ops\n\nWritten by `sluice reference ops` from what the graph checks nodes with. A module is built of "
           "these: [extending.md](extending.md).\n\nB sequences, S positions, T = B S tokens, D width, H heads, G "
           "key and value heads, W the width of a head, E experts,\nK chosen, R rows of experts, V vocabulary, C "
           "the length of a cache; other letters are that op's. `..` stands for any\nnumber of extents, `|` between "
           "shapes of different rank.\n\nA value without a dtype is `ACT` (bf16 or float, as the run's precision "
           "says) or `REAL` (never below float).\n`?`: may be absent. `*`: is changed in place.\n`start` is where "
           "the document of a token begins in its sequence, `pos` how many positions precede a chunk in "
           "the\ncaches, in decoding alone.\n");
    for (int i = 0; op_all[i]; i++) write_op(op_all[i]);
    return CODE_OK;
}

/* ---- types for the Lua language server ---- */

static void lua_type(const struct param *p, char out[TEXT])
{
    static const char *const plain[] = { [PARAM_INT] = "integer", [PARAM_REAL] = "number", [PARAM_BOOL] = "boolean",
                                         [PARAM_INTS] = "integer[]", [PARAM_TEXT] = "string" };
    size_t used = 0;
    switch (p->type) {
    case PARAM_CHOICE:
        for (const char *w = p->choices; *w; w += strcspn(w, " "), w += *w == ' ')
            used += (size_t)snprintf(out + used, TEXT - used, "%s\"%.*s\"", used ? "|" : "", (int)strcspn(w, " "), w);
        break;
    case PARAM_SLOT: case PARAM_LAYERS: snprintf(out, TEXT, "sluice.%s", slot_name[p->slot]); break;
    case PARAM_SLOTS: snprintf(out, TEXT, "sluice.%s|sluice.%s[]", slot_name[p->slot], slot_name[p->slot]); break;
    case PARAM_INT: case PARAM_REAL: case PARAM_BOOL: case PARAM_INTS: case PARAM_TEXT:
        snprintf(out, TEXT, "%s", plain[p->type]); break;
    }
}

/* varies: a function of the layer may give the value. */
static void write_fields(const struct param *params, bool varies)
{
    for (const struct param *p = params; p && p->name; p++) {
        char type[TEXT], value[TEXT], allowed[TEXT];
        lua_type(p, type);
        param_default_text(p, value, sizeof value);
        param_allowed_text(p, allowed, sizeof allowed);
        printf("---@field %s? %s", p->name, type);
        if (varies || p->type == PARAM_LAYERS) printf("|fun(layer: integer): %s", type);
        printf(" %s; default %s", p->help, value);
        if (*allowed && p->type != PARAM_CHOICE && !param_is_slot(p)) printf(", %s", allowed);
        printf("\n");
    }
}

static enum code write_types(const struct call *c)
{
    (void)c;
    struct entry *entry;
    int n = entries_new(&entry);
    printf("---@meta _\n-- Written by `sluice reference lua`. What every slot takes, and the presets; the functions "
           "are in sluice.d.lua.\n\n---@alias sluice.preset\n");
    for (const struct embedded *e = embedded_lua; (e = preset_next(e)); e++) {
        char name[64];
        preset_name(e, name);
        printf("---| \"%s\" # ", name);
        preset_write_about(e);
        printf("\n");
    }
    printf("\n---@alias sluice.router_name\n");
    preset_write_router_names();
    printf("\n---@alias sluice.mixer_name\n");
    preset_write_mixer_names();
    for (int i = 0; i < 2; i++) {
        printf("\n---%s\n---@class sluice.%s_keys\n", entry[i].about, entry[i].name);
        write_fields(entry[i].params, false);
    }
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        printf("\n---@alias sluice.%s\n", slot_name[slot]);
        for (int i = 2; i < n; i++)
            if (!strcmp(entry[i].slot, slot_name[slot]))
                printf("---| \"%s\" # %s\n---| sluice.%s.%s\n", entry[i].name, entry[i].about, slot_name[slot],
                       entry[i].name);
        for (int i = 2; i < n; i++) {
            if (strcmp(entry[i].slot, slot_name[slot])) continue;
            printf("\n---%s\n---@class sluice.%s.%s\n---@field [1]? \"%s\"\n", entry[i].about, slot_name[slot],
                   entry[i].name, entry[i].name);
            write_fields(entry[i].params, slot_varies((enum slot)slot));
        }
    }
    free(entry);
    return CODE_OK;
}

/* ---- */

static enum code run(const struct call *c)
{
    static const struct verb verbs[] = {
        { "modules", write_modules }, { "ops", write_ops }, { "commands", write_commands }, { "lua", write_types },
    };
    return cli_verb(c, verbs, COUNT(verbs));
}

const struct command command_reference = {
    .name = "reference", .about = "write the reference pages, or the types that editors complete scripts with",
    .usage = "modules | ops | commands | lua",
    .example = "sluice reference modules >docs/modules.md\nsluice reference lua >lua/types/slots.d.lua", .least = 1,
    .most = 1, .run = run,
    .more = "modules, ops and commands are Markdown; lua is for the Lua language server (LuaLS).",
};
