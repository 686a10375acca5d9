/* The run file (HDF5): written row by row, readable while training and after kill -9. Only files in runtime/store/
   include hdf5.h. All calls from one thread. Everything that can fail returns -1 with an error that names call,
   file and dataset; after a failed write the handle is abandoned, never closed (store_failed tells), every later call
   repeats the first error, and errno is the system's (ENOSPC, EFBIG, EDQUOT: the disk is full). Ignore SIGXFSZ. */
#ifndef SLUICE_STORE_H
#define SLUICE_STORE_H

#include "base/base.h"

enum { STORE_VERSION_MAJOR = 1, STORE_VERSION_MINOR = 3 };
enum store_type { STORE_F64, STORE_F32, STORE_I64, STORE_U32, STORE_U8, STORE_I16, STORE_TYPES };
enum store_group { STORE_TRAIN, STORE_EVAL, STORE_GROUPS };            /* /metrics/train, /metrics/eval */
enum store_status { STATUS_CREATED, STATUS_RUNNING, STATUS_FINISHED, STATUS_DIVERGED, STATUS_FAILED, STATUS_PREEMPTED,
                    STATUS_COUNT };
extern const char *const status_name[STATUS_COUNT];

/* One dataset of a group. Dimensions after `row` (the step dimension); dim names become dimension scales:
   "layer", "expert", "head", or another word. "step" and its scale are made by the store. I16, which has many values a
   row, is compressed where the library can. */
struct series {
    enum store_group group;
    const char *name, *unit, *about;
    enum store_type type;
    int rank;
    int64_t dim[3];
    const char *dim_name[3];
    bool is_volatile;
    enum better better;
};
int64_t series_count(const struct series *s);               /* values in a row */

struct attribute {
    const char *name;
    enum { ATTRIBUTE_TEXT, ATTRIBUTE_INT, ATTRIBUTE_REAL } type;
    const char *text;
    int64_t integer;
    double number;
};
/* group: "/", "/environment", "/data", "/cost", … */
struct attributes { const char *group; int n; const struct attribute *attribute; };

/* One line of /cost: what a part of the model costs. */
struct cost_line {
    const char *module;
    uint64_t params_total, params_active;
    double flops_fwd, flops_train;
    uint64_t act_bytes, state_bytes, kv_bytes_per_token;
};

struct store_plan {
    int n_series; const struct series *series;
    int n_attributes; const struct attributes *attributes;
    int n_costs; const struct cost_line *costs;
    const char *config_json, *script_text, *script_path;
    const char *required_json, *record_json;    /* what the script read, and how it was run; NULL: not known */
};

struct store;

/* Creates path under a temporary name with all groups, datasets, attributes and dimension scales, enters SWMR, renames.
   Refuses an existing file. */
int store_create(struct store **out, const char *path, const struct store_plan *plan, struct err *e);

/* Bytes that a run file will have: without its series (checkpoints: rows of their table; text: of script, configuration
   and record), and of each series with so many rows. Within some per cent: what HDF5 needs to find things is measured,
   not counted. */
int64_t store_fixed_bytes(int64_t checkpoints, size_t text);
int64_t store_series_bytes(const struct series *s, int64_t rows);

/* Opens a run file to go on: repairs it when the writer died, checks that its series equal the plan's, and cuts
   every dataset to its committed rows. Committed rows are then to be replayed from `resume_step`: rows that are
   appended with a step that is already committed are compared with what is there; a difference is an error
   (store_mismatch is true, exit code 8), volatile series excepted. /attempts gets a row for each process by itself. */
int store_resume(struct store **out, const char *path, const struct store_plan *plan, struct err *e);

/* Closes the file of a writer that died between its last word and closing it; a closed file stays as it is. */
int store_mend(const char *path, struct err *e);

/* Cuts the rows after `step`, and evaluations from it on, of a file that nobody writes: they are then trained anew, not
   compared. */
int store_rewind(const char *path, int64_t step, struct err *e);

/* The row of a step among n that ascend; -1: there is none. */
int64_t store_row_of(const int64_t *step, int64_t n, int64_t wanted);
/* Appends one row: value[i] is row data (count = product of dims) of the i-th series of that group in plan order, as
   doubles, converted to the series' type (NaN to the fill value: 0xFFFFFFFF for u32). Buffered; flushed every 10 rows
   or 0.5 s, data first, `step` last. */
int store_append(struct store *s, enum store_group group, int64_t step, const double *const *value, struct err *e);

enum store_level { LEVEL_INFO, LEVEL_WARNING, LEVEL_ERROR };
enum store_event { EVENT_STARTED, EVENT_RESUMED, EVENT_CHECKPOINT, EVENT_SPIKE, EVENT_SKIPPED, EVENT_PREEMPTED,
                   EVENT_DISK_LOW, EVENT_DIVERGED, EVENT_FINISHED, EVENT_STOPPED, EVENT_BRANCHED, EVENT_ROLLED_BACK };
int store_event(struct store *s, int64_t step, enum store_level level, enum store_event code, const char *text,
                struct err *e);
int store_sample(struct store *s, int64_t step, int prompt, const char *text, struct err *e);
/* One row for each step */
int store_checkpoint(struct store *s, int64_t step, const char *file, uint64_t bytes, const char *hash, struct err *e);
int store_executed(struct store *s, double flops, double peak_bytes, struct err *e);
int store_flush(struct store *s, struct err *e);                        /* also writes the heartbeat */
bool store_failed(const struct store *s);                               /* a write failed: leave with _exit(6) for a
                                                                           full disk */
bool store_mismatch(const struct store *s);
int store_exit_code(const struct store *s);                             /* 0; 6: the disk is full, 1: another failed
                                                                           write, 8: a mismatch */
int64_t store_rows(const struct store *s, enum store_group group);      /* committed */

/* Writes the status, flushes, closes: afterwards any HDF5 reader opens the file. Frees s. */
int store_close(struct store *s, enum store_status status, struct err *e);

/* Reading: live files (SWMR), files of dead writers and finished ones alike; never writes. HDF5 runs in a child
   process, so that a damaged file is an error and no crash. The first failure sticks: texts are "" then, and
   reader_result says why. */
struct reader;
struct reader_series {
    char name[64];
    enum store_group group;
    char unit[32], about[160];
    enum store_type type;
    int rank;
    int64_t dim[3];
    char dim_name[3][16];
    bool is_volatile;
    enum better better;
};
int reader_open(struct reader **out, const char *path, struct err *e);
void reader_close(struct reader *r);
int reader_result(const struct reader *r, struct err *e);               /* 0, or -1 with the first failure */
enum store_status reader_status(const struct reader *r);
int64_t reader_rows(const struct reader *r, enum store_group group);    /* committed: the length of `step` */
int reader_series_count(const struct reader *r);
const struct reader_series *reader_series(const struct reader *r, int i);
const struct reader_series *reader_find(const struct reader *r, enum store_group group, const char *name);
/* All committed rows as doubles, malloc'd, rows * product of dims; fill values of integers become NaN. */
int reader_read(struct reader *r, const struct reader_series *s, double **values, struct err *e);
int reader_read_rows(struct reader *r, const struct reader_series *s, int64_t first, int64_t n, double **values,
                     struct err *e);
int reader_steps(struct reader *r, enum store_group group, int64_t **steps, struct err *e);
/* Text of an attribute or of a dataset of /config, "" when absent. Owned by the reader. */
const char *reader_text(struct reader *r, const char *group, const char *attribute);
const char *reader_config(struct reader *r);
const char *reader_script(struct reader *r);
const char *reader_required(struct reader *r);    /* JSON, as in the plan; "" in files of format 1.1 */
const char *reader_record(struct reader *r);
/* Calls line() for each row of /events, /checkpoints, /attempts or /samples as aligned text. */
int reader_table(struct reader *r, const char *table, void (*line)(void *state, const char *text), void *state,
                 struct err *e);

/* fsck: opens, reads every dataset (checksums) in a child process, checks lengths against `step`. -1 leaves errno as
   the system gave it, 0 when it is the file. */
struct fsck_result { bool readable, clean, repaired; int64_t rows, ragged_rows; int bad_datasets; char text[1024]; };
int store_fsck(const char *path, bool repair, struct fsck_result *out, struct err *e);

char *store_library(char out[32]);                                      /* the version of HDF5 that runs: "1.10.8" */

#endif
