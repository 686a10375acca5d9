/* The table of a study's runs, as ls, show and watch print it. */
#ifndef SLUICE_CLI_STATUS_H
#define SLUICE_CLI_STATUS_H

#include "cli.h"
#include "runs.h"

enum paint status_paint(int condition);
const char *status_primary(const struct runs *runs);        /* metric of the study; of a run alone eval.loss */
void status_print(const struct runs *runs, FILE *to);
void status_earlier(const struct runs *runs, FILE *to);     /* a line that says how many runs are left out as earlier
                                                               ones */
json_t *status_json(const struct runs *runs);               /* a list with one object a run */
/* "3 running, 1 dead, 16 pending", or "finished" when all are. */
void status_summary(const struct runs *runs, char *out, size_t size);
int status_count(const struct runs *runs, int condition);
double status_remaining(struct run *r);    /* seconds to go at the speed of the last rows; NaN when not known */
/* Says on stderr of each run that cannot be read why: CODE_INPUT when there is one. For the end, when all was asked
   for. */
enum code status_unreadable(const struct runs *runs);

#endif
