/* Work in a process of its own, with limits that the kernel keeps: whatever the work is led to do, it ends. */
#ifndef SLUICE_CLI_APART_H
#define SLUICE_CLI_APART_H

#include "base/base.h"
#include <jansson.h>

/* Calls work(with) there; what it prints goes to stderr. Returns its JSON (new reference), or NULL, and *why how it ended:
   its own words, or "ended by ...". */
json_t *apart_run(json_t *(*work)(void *with), void *with, struct err *why);

/* For the work: ends with words of its own; also in a handler of a signal. */
_Noreturn void apart_give_up(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Memory beyond what it has now; xmalloc then ends as `large` says. */
void apart_memory(size_t bytes, void (*large)(size_t wanted));
/* Seconds of processor time from now on, and at most `most` in all; then the handler is called, which must end it. */
void apart_seconds(int seconds, int most, void (*late)(int signal));

#endif
