/* Schemas as text. */
#include "schema.h"
#include "embedded.h"
#include "model/registry.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *note_of(const struct module *m)
{
    char name[96];
    snprintf(name, sizeof name, "%s_%s", slot_name[m->slot], m->name);
    const struct embedded *note = module_notes;
    while (note->path && strcmp(note->path, name)) note++;
    INVARIANT(note->path, "modules/%s.c is not where the module is", name);
    return note->text;
}

int entries_new(struct entry **out)
{
    int n = 2;
    for (const struct module *const *m = module_all; *m; m++) n++;
    struct entry *entry = *out = xcalloc((size_t)n, sizeof *entry);
    entry[0] = (struct entry){ "model", "model", model_schema.about, model_schema.params, NULL };
    entry[1] = (struct entry){ "train", "train", train_schema.about, train_schema.params, NULL };
    n = 2;
    for (int slot = 0; slot < SLOT_COUNT; slot++)
        for (const struct module *const *m = module_all; *m; m++)
            if ((int)(*m)->slot == slot)
                entry[n++] = (struct entry){ slot_name[slot], (*m)->name, (*m)->about, (*m)->params, note_of(*m) };
    return n;
}

/* ---- one parameter ---- */

const char *param_type_text(const struct param *p)
{
    static const char *const text[] = { "integer", "number", "true or false", "word", "list of integers", "text",
                                        "module", "list of modules", "module, or one a layer" };
    return text[p->type];
}

void param_default_text(const struct param *p, char *out, size_t size)
{
    int length;
    switch (p->type) {
    case PARAM_INT: case PARAM_REAL: snprintf(out, size, "%.10g", p->value); break;
    case PARAM_BOOL: snprintf(out, size, "%s", p->value != 0 ? "true" : "false"); break;
    case PARAM_CHOICE: {
        const char *word = param_word(p->choices, (int)p->value, &length);
        snprintf(out, size, "%.*s", length, word);
        break;
    }
    case PARAM_INTS: case PARAM_SLOTS: snprintf(out, size, "{}"); break;
    case PARAM_SLOT: case PARAM_LAYERS: case PARAM_TEXT: snprintf(out, size, "%s", p->module); break;
    }
}

static void list_slot(enum slot slot, char *out, size_t size)
{
    size_t used = 0;
    for (const struct module *const *m = module_all; *m; m++)
        if ((*m)->slot == slot && used < size)
            used += (size_t)snprintf(out + used, size - used, "%s%s", used ? ", " : "", (*m)->name);
}

/* A bound that no model meets is none. */
static void list_bounds(const struct param *p, char *out, size_t size)
{
    if (p->max >= 1e9 && p->min <= -1e9) out[0] = 0;
    else if (p->min == ABOVE_0 && p->max >= 1e9) snprintf(out, size, "> 0");
    else if (p->max >= 1e9) snprintf(out, size, "≥ %.10g", p->min);
    else snprintf(out, size, "%.10g … %.10g", p->min, p->max);
}

void param_allowed_text(const struct param *p, char *out, size_t size)
{
    size_t used = 0;
    out[0] = 0;
    switch (p->type) {
    case PARAM_INT: case PARAM_REAL: case PARAM_INTS: list_bounds(p, out, size); break;
    case PARAM_CHOICE:
        for (const char *w = p->choices; *w && used < size; w += strcspn(w, " "), w += *w == ' ')
            used += (size_t)snprintf(out + used, size - used, "%s%.*s", used ? ", " : "", (int)strcspn(w, " "), w);
        break;
    case PARAM_SLOT: case PARAM_SLOTS: case PARAM_LAYERS: list_slot(p->slot, out, size); break;
    case PARAM_BOOL: case PARAM_TEXT: break;
    }
}

/* ---- slots ---- */

bool param_is_slot(const struct param *p)
{
    return p->type == PARAM_SLOT || p->type == PARAM_SLOTS || p->type == PARAM_LAYERS;
}

static const struct param *slot_in(const struct param *params, enum slot slot)
{
    for (const struct param *p = params; p && p->name; p++)
        if (param_is_slot(p) && p->slot == slot) return p;
    return NULL;
}

/* The parameter that a slot is, and the slot whose module has it; *outer is SLOT_COUNT for keys of model and train. Of
   several places the least deep, and of these the first. */
static const struct param *slot_param(enum slot slot, enum slot *outer, int *depth)
{
    const struct param *p = NULL, *inner;
    enum slot around;
    int deep;
    *outer = SLOT_COUNT;
    *depth = 0;
    static const struct schema *const tables[] = { &model_schema, &train_schema, &data_schema };
    for (int i = 0; i < COUNT(tables); i++)
        if ((p = slot_in(tables[i]->params, slot))) return p;
    for (const struct module *const *m = module_all; *m; m++) {
        enum slot of = (*m)->slot;
        if (of == slot || !(inner = slot_in((*m)->params, slot))) continue;         /* gates may hold another */
        slot_param(of, &around, &deep);
        if (p && deep + 1 >= *depth) continue;
        p = inner;
        *outer = of;
        *depth = deep + 1;
    }
    INVARIANT(p, "nothing has a slot '%s'", slot_name[slot]);
    return p;
}

const struct param *slot_path(enum slot slot, char *path, size_t size)
{
    enum slot outer;
    int depth;
    const struct param *p = slot_param(slot, &outer, &depth);
    path[0] = 0;
    if (outer != SLOT_COUNT) slot_path(outer, path, size);
    else if (slot_in(train_schema.params, slot)) snprintf(path, size, "train");
    size_t used = strlen(path);
    snprintf(path + used, size - used, "%s%s", used ? "." : "", p->name);
    return p;
}

bool slot_varies(enum slot slot)
{
    enum slot outer;
    int depth;
    const struct param *p = slot_param(slot, &outer, &depth);
    return p->type == PARAM_LAYERS || (outer != SLOT_COUNT && slot_varies(outer));
}
