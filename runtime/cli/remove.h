/* Taking from a disk what Sluice put there, and nothing else: links are not followed, other files are left. */
#ifndef SLUICE_CLI_REMOVE_H
#define SLUICE_CLI_REMOVE_H

#include "cli.h"

/* What lies in what, from a study down to the files of a checkpoint. */
enum layer { LAYER_STUDY, LAYER_VARIANT, LAYER_RUN, LAYER_CHECKPOINTS, LAYER_CHECKPOINT };

/* dry: only counted. told: what is not Sluice's, and is left, was said before. bytes: on the disk. */
struct removal { bool dry, told; double bytes; int runs, checkpoints, foreign; };

#define REMOVE_OPTIONS \
    { "yes", 'y', NULL, "remove; without it nothing is" }, \
    { "dry-run", 'n', NULL, "only say what would be removed" }

/* Removes a folder of that layer. A run that a process trains is an error, and ends it. */
int remove_folder(const char *path, enum layer layer, struct removal *r, struct err *e);
/* The layer of a folder by its name and what it lies in; -1: it is not Sluice's, and e says why. */
int remove_layer(const char *path, struct err *e);
/* Says what was, or would be, removed, and what to do when it was not asked for for certain. */
enum code remove_end(const struct call *c, const struct removal *r);

#endif
