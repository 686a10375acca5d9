/* What the files of the store share. Only they include hdf5.h. */
#ifndef SLUICE_STORE_PRIVATE_H
#define SLUICE_STORE_PRIVATE_H

#include "store.h"
#include "base/child.h"
#include <hdf5.h>

enum {
    PAGE = 4096,
    PAGE_DATA = PAGE - 4,               /* what a chunk of one page holds: Fletcher-32 takes four bytes */
    FLUSH_ROWS = 10,
    STEP_MISSING = -1                   /* fill of `step`: such a row was never committed */
};
#define FLUSH_SECONDS 0.5

/* The number types of series. The hid_t are the library's own, never closed. */
struct number { size_t size; hid_t file, memory; double missing; };
struct number store_number(enum store_type type);
bool store_convert(enum store_type type, double value, void *to);           /* false: the type cannot hold it */
size_t dims_count(int rank, const int64_t *dim);

/* Tables: compounds of fixed-size fields. Those before TABLE_LIVE grow while the run goes on. */
enum store_table { TABLE_EVENTS, TABLE_SAMPLES, TABLE_CHECKPOINTS, TABLE_ATTEMPTS, TABLE_EXECUTED, TABLE_LIVE,
                   TABLE_COST = TABLE_LIVE, TABLE_COUNT };
enum field_type { FIELD_I64, FIELD_U64, FIELD_I32, FIELD_U8, FIELD_F64, FIELD_TIME, FIELD_LEVEL, FIELD_EVENT,
                  FIELD_TEXT };
struct field { const char *name; enum field_type type; size_t offset, size; };
struct table { const char *path, *about; size_t size; int n; const struct field *field; bool is_volatile; };
extern const struct table store_table[TABLE_COUNT];

struct event_row { int64_t step; double time; uint8_t level; int32_t code; char text[256]; };
struct sample_row { int64_t step; int32_t prompt_id; uint8_t truncated; char text[1024]; };
struct checkpoint_row { int64_t step; char file[256]; uint64_t bytes; char xxh128[32]; };
struct attempt_row {
    int32_t attempt;
    int64_t first_step, last_step, cut_rows;
    char host[64];
    double start, stop;
    char reason[64];
};
struct executed_row { double time, flops, peak_bytes; };
struct cost_row {
    char module[64];
    uint64_t params_total, params_active;
    double flops_fwd, flops_train;
    uint64_t act_bytes, state_bytes, kv_bytes_per_token;
};

hid_t table_type(const struct table *t);
hid_t text_type(size_t bytes);
int64_t table_rows(hid_t dataset, const struct table *t);                   /* -1: cannot be read */
char *table_line(const struct table *t, const void *row);                   /* malloc'd */
const struct table *table_find(const char *name);           /* NULL: there is none */
bool copy_text(char *to, size_t room, const char *from);                    /* whether it was cut */

extern const char *const store_group_path[STORE_GROUPS], *const store_group_name[STORE_GROUPS];

struct column { char *name; enum store_type type; bool is_volatile; size_t count, bytes; hid_t data; char *pending; };
struct metrics {
    int n; struct column *column;
    hid_t step_data;
    int64_t committed, room, *step;     /* steps of the committed rows, ascending */
    int pending; int64_t pending_step[FLUSH_ROWS];
};

struct store {
    char *path;
    hid_t file; int fd;
    bool live;                          /* SWMR has begun: rows are appended and nothing is made */
    bool failed, mismatch;
    struct err err; int cause;          /* the first failure and its errno, which every later call repeats */
    struct metrics metrics[STORE_GROUPS];
    hid_t table[TABLE_LIVE]; int64_t table_rows[TABLE_LIVE];
    hid_t status, heartbeat;
    bool running;                       /* /status says so */
    struct attempt_row attempt; bool attempt_stale;         /* the last row of /attempts; not yet written so */
    double flushed, synced;
};

/* Evaluates an HDF5 call unless an earlier one failed; the first failure is kept with the call's name. */
#define H5(s, what, call) store_checked((s), (what), #call, (s)->failed ? -1 : (long long)(call))
long long store_checked(struct store *s, const char *what, const char *call, long long result);
struct h5_cause { int number; char text[256]; };            /* errno (0: not the system's fault) and words */
struct h5_cause h5_cause(void);
void store_broken(struct store *s, const char *what, const char *call, struct h5_cause cause);
void store_broken_by_system(struct store *s, const char *call);             /* the same from errno */
int store_result(const struct store *s, struct err *e);     /* 0, or -1 with the first failure and errno */

void h5_begin(void);                                        /* before any other HDF5 call */
hid_t h5_access(void);                                      /* file access properties of every open */
int64_t rows_of(hid_t dataset);                             /* extent of the first dimension; -1: there is none */
int64_t rows_committed(hid_t step);                         /* -1: cannot be read */
int rows_read(hid_t dataset, hid_t type, int64_t first, int64_t n, void *to);
void rows_write(struct store *s, const char *what, hid_t dataset, hid_t type, int64_t first, int64_t n,
                const void *from);

hid_t layout_properties(void);
void layout_make(struct store *s, const struct store_plan *plan);

struct store *store_new(const char *path, const struct store_plan *plan);
void store_free(struct store *s);                           /* memory only; HDF5's handles are closed or abandoned
                                                               before */
void store_attach(struct store *s);                         /* opens every dataset that grows, counts committed rows */
void store_put_row(struct store *s, enum store_table table, int64_t at, const void *row);
void store_add_row(struct store *s, enum store_table table, const void *row);
void store_commit(struct store *s);
void store_sync(struct store *s);                           /* fdatasync */
void store_set_status(struct store *s, enum store_status status);
int replay_row(struct store *s, enum store_group group, int64_t step, const double *const *value, struct err *e);

void attempt_begin(struct store *s, int64_t cut_rows);
void attempt_step(struct store *s, int64_t step);
void attempt_commit(struct store *s);
void attempt_end(struct store *s, const char *reason);

/* What a run file holds, read in this process. */
struct snapshot {
    char *path;
    hid_t file;
    bool live;                          /* a writer has it open, or died with it */
    enum store_status status;
    int64_t rows[STORE_GROUPS];
    int n, room; struct reader_series *series;
    struct arena *texts;
};
int snapshot_open(struct snapshot **out, const char *path, struct err *e);
void snapshot_close(struct snapshot *r);
/* Rows first..first+n-1: n * product of dims numbers, n steps. Fill values of integers become NaN. */
int snapshot_values(struct snapshot *r, const struct reader_series *s, int64_t first, int64_t n, double *to,
                    struct err *e);
int snapshot_steps(struct snapshot *r, enum store_group group, int64_t first, int64_t n, int64_t *to, struct err *e);
/* Texts are the snapshot's; an attribute that is absent is "". */
int snapshot_text(struct snapshot *r, const char *group, const char *attribute, const char **text, struct err *e);
int snapshot_config(struct snapshot *r, const char **text, struct err *e);
int snapshot_script(struct snapshot *r, const char **text, struct err *e);
int snapshot_required(struct snapshot *r, const char **text, struct err *e);  /* these two: "" in files of format 1.1 */
int snapshot_record(struct snapshot *r, const char **text, struct err *e);
int snapshot_table(struct snapshot *r, const struct table *t, void (*line)(void *state, const char *text), void *state,
                   struct err *e);

/* Work with a file that may be damaged, in a child process with limits, which says what it found by child_write. */
int guard_begin(struct child *c, void (*work)(int end, void *state), void *state, struct err *e);
void guard_end(struct child *c, char why[96]);              /* why: how it came to its end; NULL: because it is done
                                                               with */
void guard_step(void);    /* the child gets on: its processor time is counted from here */

/* First look at a file, before HDF5 sees it: is it one, and did its last writer leave it open? */
int superblock_check(const char *path, bool *left_open, struct err *e);
/* Whether HDF5 survives reading all of it: asked before a file is opened to write in this process. */
int store_check(const char *path, struct err *e);
/* Clears a dead writer's flags and cuts every series to the committed rows of steps up to `last`, on a copy that
   replaces the file. */
int repair_file(const char *path, int64_t last, int64_t *cut_rows, struct err *e);

#endif
