/* What the files of the store share. Only they include hdf5.h. */
#ifndef SLUICE_STORE_PRIVATE_H
#define SLUICE_STORE_PRIVATE_H

#include "store.h"
#include <hdf5.h>

enum {
    PAGE = 4096,                        /* no object of the file crosses a page, so no kill tears a write (layout.c) */
    PAGE_DATA = PAGE - 4,               /* what a chunk holds: Fletcher-32 takes four bytes */
    FLUSH_ROWS = 10
};
#define FLUSH_SECONDS 0.5
#define STEP_MISSING (-1)               /* fill of `step`: such a row was never committed */

enum store_table { TABLE_EVENTS, TABLE_SAMPLES, TABLE_CHECKPOINTS, TABLE_ATTEMPTS, TABLE_EXECUTED, TABLE_COUNT };
enum field_type { FIELD_I64, FIELD_U64, FIELD_I32, FIELD_U8, FIELD_F64, FIELD_TIME, FIELD_TEXT, FIELD_LEVEL, FIELD_EVENT };

struct field { const char *name; enum field_type type; size_t offset, size; };
struct table { const char *path, *about; size_t size; int n; const struct field *field; bool is_volatile; };
extern const struct table store_table[TABLE_COUNT], store_cost_table;
extern const char *const store_group_path[STORE_GROUPS];
extern const char *const level_name[3], *const event_name[10];

struct event_row { int64_t step; double time; uint8_t level; int32_t code; char text[256]; };
struct sample_row { int64_t step; int32_t prompt; uint8_t truncated; char text[1024]; };
struct checkpoint_row { int64_t step; char file[256]; uint64_t bytes; char hash[33]; };
struct attempt_row { int32_t attempt; int64_t first_step, last_step, cut_rows; char host[64]; double start, stop; char reason[64]; };
struct executed_row { double time, flops, peak_bytes; };
struct cost_row { char module[64]; uint64_t params_total, params_active; double flops_fwd, flops_train; uint64_t act_bytes, state_bytes, kv_bytes_per_token; };

struct column { char *name; enum store_type type; bool is_volatile; int rank; int64_t dim[3]; size_t count, bytes; hid_t data; uint8_t *pending; };
struct metrics { hid_t step_data; int n; struct column *column; int64_t committed, room, *step; int pending; int64_t pending_step[FLUSH_ROWS]; };

struct store {
    char *path;
    hid_t file;
    int fd;
    bool live;                          /* SWMR has begun: from here on rows are appended and nothing is made */
    bool failed, mismatch;
    int cause;                          /* errno of the failure, 0 when it is not known */
    struct err err;                     /* the first failure; every later call repeats it */
    struct metrics metrics[STORE_GROUPS];
    hid_t table[TABLE_COUNT], status, heartbeat;
    int64_t table_rows[TABLE_COUNT];
    bool running;                       /* /status says so */
    double flushed;
};

/* Runs an HDF5 call unless an earlier one failed, and remembers the first failure with the call's name. */
#define H5(s, what, call) store_checked((s), (what), #call, (s)->failed ? -1 : (long long)(call))
hid_t store_checked(struct store *s, const char *what, const char *call, long long result);
int store_result(const struct store *s, struct err *e);     /* 0, or -1 with the first failure and errno */
void store_broken(struct store *s, const char *what, const char *call);

/* Text and errno of the innermost record of HDF5's error stack. */
struct h5_cause { int number; char text[256]; };
struct h5_cause h5_cause(void);
void h5_begin(void);                                        /* before any other HDF5 call */
hid_t h5_access(void);                                      /* file access properties of every open */

struct type { const char *name; size_t size; hid_t file, memory; double missing; };
struct type store_type(enum store_type type);               /* the hid_t are the library's own, never closed */
void store_missing(enum store_type type, void *to);
hid_t table_type(const struct table *t);
int64_t rows_of(hid_t dataset);                             /* extent of the first dimension; -1: cannot be told */
int64_t rows_committed(hid_t step);                         /* length of `step` without a tail that was never written */
bool rows_used(hid_t table, const struct table *t, int64_t *rows);
hid_t row_slab(hid_t dataset, int64_t first, int64_t n, hid_t *memory);

void layout_make(struct store *s, const struct store_plan *plan);
struct store *store_new(const char *path);
void store_drop(struct store *s);                           /* frees memory; leaves HDF5's handles alone */
void store_attach(struct store *s, const struct store_plan *plan);
void store_write_rows(struct store *s, const char *what, hid_t dataset, hid_t type, int64_t first, int64_t n, const void *rows);
void store_write_one(struct store *s, const char *what, hid_t dataset, hid_t type, const void *value);
void store_table_add(struct store *s, enum store_table table, const void *row);
void store_set_status(struct store *s, enum store_status status);
void copy_text(char *to, size_t room, const char *from);    /* cut between characters, filled with NUL */

/* State of a file by its first bytes, before HDF5 sees it. */
int superblock_read(const char *path, bool *open_for_write, struct err *e);
/* Clears a dead writer's flags and cuts ragged datasets, on a copy that replaces the file when it is whole. */
int store_repair(const char *path, int64_t *cut_rows, struct err *e);
int sync_folder_of(const char *path);

#endif
