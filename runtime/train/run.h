/* Running the points of a study, each in a process of its own: one that crashes or diverges is a result, and the
   others go on. */
#ifndef SLUICE_RUN_H
#define SLUICE_RUN_H

#include "train.h"

enum show { SHOW_AUTO, SHOW_LINES, SHOW_JSON, SHOW_NOTHING };
/* jobs, threads 0: as many as the cores allow */
struct run_options { int jobs, threads; enum show show; bool retry_failed, mix; int rank, ranks; };

/* Trains all points, beside other processes that do: each takes what nobody trains, waits for the rest, and takes over
   what another left. Returns 0 when every point ended with a result (finished or diverged); else the code of the first
   that failed, or 75 when a signal stopped the study, 6 when a disk is full. Finished points are skipped. Without `mix`
   nothing is run beside files that another revision or instruction set wrote. */
enum outcome run_study(const struct study *s, const struct run_options *o);

/* Whether the data at `path` is what all points were made with. */
int run_check_data(const struct study *s, const char *path, struct err *e);

#endif
