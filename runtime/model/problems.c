/* Mistakes of a configuration, collected. */
#include "config.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int problems_kept(const struct problems *p) { return p->n < PROBLEMS_KEPT ? p->n : PROBLEMS_KEPT; }

void problem_add(struct problems *p, const char *path, const char *format, ...)
{
    char text[1024];
    va_list list;
    p->found++;
    if (p->n >= PROBLEMS_KEPT) { p->n++; return; }
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    for (int i = 0; i < p->n; i++)                          /* the same mistake in every layer is one mistake */
        if (strcmp(p->problem[i].path, path) == 0 && strcmp(p->problem[i].text, text) == 0) return;
    if (p->n == p->room) {
        p->room = p->room ? 2 * p->room : 8;
        p->problem = xrealloc(p->problem, (size_t)p->room * sizeof *p->problem);
    }
    p->problem[p->n++] = (struct problem){ xstrdup(path), xstrdup(text), p->variant ? xstrdup(p->variant) : NULL };
}

void problems_free(struct problems *p)
{
    for (int i = 0; i < problems_kept(p); i++) {
        free(p->problem[i].path);
        free(p->problem[i].text);
        free(p->problem[i].variant);
    }
    free(p->problem);
    *p = (struct problems){ 0 };
}
