/* What modules ask of configurations: parameters by name, how many blocks there are, and the
   problems that they find. */
#include "module.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct param *parameter(const struct module *m, const char *name)
{
    for (const struct param *p = m->params; p && p->name; p++) if (strcmp(p->name, name) == 0) return p;
    return NULL;
}

const void *module_value(struct pick pick, const char *name)
{
    const struct param *p = parameter(pick.module, name);
    return p ? (const char *)pick.conf + p->offset : NULL;
}

/* The word at an index in a row of words. */
static bool is_word(const char *words, int index, const char *word)
{
    while (index-- > 0 && words) words = strchr(words, ' ') ? strchr(words, ' ') + 1 : NULL;
    size_t n = strlen(word);
    return words && strncmp(words, word, n) == 0 && (words[n] == ' ' || words[n] == 0);
}

bool module_chose(struct pick pick, const char *name, const char *word)
{
    const struct param *p = parameter(pick.module, name);
    return p && p->type == PARAM_CHOICE && is_word(p->choices, *(const int *)module_value(pick, name), word);
}

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

int model_blocks(const struct model_conf *conf)
{
    int blocks = conf->layers;
    for (const struct param *p = conf->head.module->params; p && p->name; p++) {
        if (p->type != PARAM_SLOT || p->slot != SLOT_MTP) continue;
        const struct pick *mtp = (const void *)((const char *)conf->head.conf + p->offset);
        if (mtp->module->mtp_blocks) blocks += mtp->module->mtp_blocks(mtp->conf);
    }
    return blocks;
}
