/* How a run was made, as its file keeps it: told, and made a command and files again. */
#ifndef SLUICE_CLI_RECORD_H
#define SLUICE_CLI_RECORD_H

#include "cli.h"
#include "runs.h"

/* What a run file says. Texts are the reader's; record and required are NULL in files older than format 1.2. */
struct record {
    const char *study, *variant, *replicate, *seed, *data, *data_hash;
    const char *revision, *isa, *backend, *threads, *host, *script;
    json_t *record, *required;
};
struct record record_read(struct reader *r);
struct record record_of_study(const struct study *s);       /* of its last sluice run: without what is a run's own */
void record_free(struct record *r);

void record_print(const struct record *r);                  /* a line each, as show does */
void record_json(const struct record *r, json_t *into);
/* The script, below comments that say what the command line put in its place and which files it needs. */
void record_script(const struct record *r, const char *path);

char *record_quoted(const json_t *words);                   /* as a shell takes them; malloc'd */
/* The words of the command that makes this run alone, or its study, of the script in `folder` (NULL: where it lay). */
json_t *record_command(const struct record *r, bool alone, const char *folder, const char *data, const char *out);
const char *record_file(const struct record *r);            /* name of the script's file */
/* Writes the script and what it required into a folder, which is made. Nothing that is there is written over. */
int record_write(const struct record *r, const char *folder, struct err *e);
/* Whether script and required files still lie where they did, as they were; else `why` says what is not. */
bool record_intact(const struct record *r, struct err *why);

#endif
