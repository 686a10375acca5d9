/* The registry: every module there is, and what its schema says of its parameters. */
#include "module.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MODULE(slot, name) extern const struct module slot##_##name;
#include "list.h"
#undef MODULE
#define MODULE(slot, name) &slot##_##name,
const struct module *const module_all[] = {
#include "list.h"
    NULL
};
#undef MODULE

const struct module *module_find(enum slot slot, const char *name)
{
    for (const struct module *const *m = module_all; *m; m++)
        if ((*m)->slot == slot && strcmp((*m)->name, name) == 0) return *m;
    return NULL;
}

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
