/* What ends the process: a call that failed, a setting that means nothing. */
#include "device.h"
#include "parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void cuda_fail(const char *file, int line, const char *call, const char *says)
{
    fprintf(stderr, "cuda: %s:%d: %s: %s\n", file, line, call, says);
    exit(7);
}

bool device_switch(const char *variable, const char *on, const char *off)
{
    const char *word = getenv(variable);
    if (!word || strcmp(word, off) == 0) return false;
    if (strcmp(word, on) == 0) return true;
    fprintf(stderr, "%s=%s: must be %s or %s\n", variable, word, on, off);
    exit(2);
}
