/* Training a run anew by its recorded command, and holding every bit of it against what it was. */
#ifndef SLUICE_CLI_RETRAIN_H
#define SLUICE_CLI_RETRAIN_H

#include "record.h"

/* In `folder`, which holds the script's files and keeps what is trained, in runs. CODE_MISMATCH: a value differs. */
enum code retrain_in(const char *folder, struct run *was, const struct record *r, const char *data);
/* In a folder of its own, which is gone afterwards. */
enum code retrain_aside(struct run *was, const struct record *r, const char *data);

#endif
