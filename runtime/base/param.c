/* Words of choices. */
#include "param.h"
#include <string.h>

const char *param_word(const char *words, int i, int *length)
{
    for (; *words; words += *length, words += *words == ' ') {
        *length = (int)strcspn(words, " ");
        if (i-- == 0) return words;
    }
    return NULL;
}
