/* What modules say of themselves, and the problems that their checks find. */
#include "registry.h"

#include <stdarg.h>
#include <stdio.h>

static void collect_below(const struct param *params, const void *conf, struct traits *t);

static void collect(struct pick pick, struct traits *t)
{
    if (!pick.module) return;
    collect_below(pick.module->params, pick.conf, t);
    if (pick.module->traits) pick.module->traits(pick, t);
}

static void collect_below(const struct param *params, const void *conf, struct traits *t)
{
    for (const struct param *p = params; p && p->name; p++) {
        const void *field = (const char *)conf + p->offset;
        if (p->type == PARAM_SLOT) collect(*(const struct pick *)field, t);
        if (p->type != PARAM_SLOTS && p->type != PARAM_LAYERS) continue;
        const struct picks *list = field;
        for (int i = 0; i < list->n; i++) collect(list->pick[i], t);
    }
}

struct traits module_traits(struct pick pick)
{
    struct traits t = { 0 };
    collect(pick, &t);
    return t;
}

struct pick module_part(struct pick pick, enum slot slot)
{
    struct pick none = { NULL, NULL }, found = none;
    for (const struct param *p = pick.module ? pick.module->params : NULL; p && p->name && !found.module; p++) {
        if (p->type != PARAM_SLOT) continue;
        struct pick below = *(const struct pick *)((const char *)pick.conf + p->offset);
        found = p->slot == slot ? below : module_part(below, slot);
    }
    return found;
}

int model_passes(const struct model_conf *conf) { return conf->order.n ? conf->order.n : conf->layers; }
int model_layer(const struct model_conf *conf, int pass) { return conf->order.n ? conf->order.value[pass] : pass; }
int model_blocks(const struct model_conf *conf) { return model_passes(conf) + module_traits(conf->head).mtp_blocks; }

void module_problem(struct problems *p, const char *path, const char *key, const char *format, ...)
{
    char full[256], text[512];
    va_list list;
    snprintf(full, sizeof full, "%s%s%s", path, *path ? "." : "", key);
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    problem_add(p, full, "%s", text);
}
