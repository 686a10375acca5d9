/* Texts as long as they come to be. */
#include "text.h"
#include "base.h"

#include <stdarg.h>
#include <stdio.h>

char *text_new(const char *format, ...)
{
    va_list list, again;
    va_start(list, format);
    va_copy(again, list);
    int n = vsnprintf(NULL, 0, format, list);
    INVARIANT(n >= 0, "no text: %s", format);
    char *text = xmalloc((size_t)n + 1);
    vsnprintf(text, (size_t)n + 1, format, again);
    va_end(again);
    va_end(list);
    return text;
}

const char *did_you_mean(const char *near, char out[HINT])
{
    out[0] = 0;
    if (near) snprintf(out, HINT, " (did you mean '%s'?)", near);
    return out;
}
