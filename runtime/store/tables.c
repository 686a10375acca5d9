/* The tables of a run file: events, samples, checkpoints, attempts, cost. A row is a C struct and a compound of
   fixed-size fields (variable-length data does not survive a kill under SWMR). */
#include "private.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

const char *const status_name[STATUS_COUNT] = { "created", "running", "finished", "diverged", "failed", "preempted" };
static const char *const level_name[] = { "info", "warning", "error" };
static const char *const event_name[] = { "started", "resumed", "checkpoint", "spike", "skipped", "preempted",
                                          "disk_low", "diverged", "finished", "stopped", "branched",
                                          "rolled_back" };

#define FIELD(row, name, type) { #name, type, offsetof(struct row, name), sizeof ((struct row *)0)->name }
static const struct field events[] = {
    FIELD(event_row, step, FIELD_I64), FIELD(event_row, time, FIELD_TIME), FIELD(event_row, level, FIELD_LEVEL),
    FIELD(event_row, code, FIELD_EVENT), FIELD(event_row, text, FIELD_TEXT),
};
static const struct field samples[] = {
    FIELD(sample_row, step, FIELD_I64), FIELD(sample_row, prompt_id, FIELD_I32), FIELD(sample_row, truncated, FIELD_U8),
    FIELD(sample_row, text, FIELD_TEXT),
};
static const struct field checkpoints[] = {
    FIELD(checkpoint_row, step, FIELD_I64), FIELD(checkpoint_row, file, FIELD_TEXT),
    FIELD(checkpoint_row, bytes, FIELD_U64), FIELD(checkpoint_row, xxh128, FIELD_TEXT),
};
static const struct field attempts[] = {
    FIELD(attempt_row, attempt, FIELD_I32), FIELD(attempt_row, first_step, FIELD_I64),
    FIELD(attempt_row, last_step, FIELD_I64), FIELD(attempt_row, cut_rows, FIELD_I64),
    FIELD(attempt_row, host, FIELD_TEXT), FIELD(attempt_row, start, FIELD_TIME),
    FIELD(attempt_row, stop, FIELD_TIME), FIELD(attempt_row, reason, FIELD_TEXT),
};
static const struct field executed[] = {
    FIELD(executed_row, time, FIELD_TIME), FIELD(executed_row, flops, FIELD_F64),
    FIELD(executed_row, peak_bytes, FIELD_F64),
};
static const struct field costs[] = {
    FIELD(cost_row, module, FIELD_TEXT), FIELD(cost_row, params_total, FIELD_U64),
    FIELD(cost_row, params_active, FIELD_U64), FIELD(cost_row, flops_fwd, FIELD_F64),
    FIELD(cost_row, flops_train, FIELD_F64), FIELD(cost_row, act_bytes, FIELD_U64),
    FIELD(cost_row, state_bytes, FIELD_U64), FIELD(cost_row, kv_bytes_per_token, FIELD_U64),
};

#define TABLE(path, about, row, fields, is_volatile) \
    { \
        path, about, sizeof(struct row), COUNT(fields), fields, is_volatile \
    }
const struct table store_table[TABLE_COUNT] = {
    [TABLE_EVENTS]      = TABLE("/events", "what happened to the run; time in Unix seconds", event_row, events, true),
    [TABLE_SAMPLES]     = TABLE("/samples", "generated text, cut at 1024 bytes", sample_row, samples, false),
    [TABLE_CHECKPOINTS] = TABLE("/checkpoints", "checkpoints written; older ones may be gone from disk", checkpoint_row,
                                checkpoints, false),
    [TABLE_ATTEMPTS]    = TABLE("/attempts", "processes that worked on the run; times in Unix seconds", attempt_row,
                                attempts, true),
    [TABLE_EXECUTED]    = TABLE("/cost/executed", "counted while running: FLOPs so far, peak bytes", executed_row,
                                executed, true),
    [TABLE_COST]        = TABLE("/cost/planned", "by module: parameters, FLOPs of a token, bytes", cost_row, costs,
                                false),
};

hid_t text_type(size_t bytes)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, bytes);
    if (bytes != H5T_VARIABLE) H5Tset_strpad(type, H5T_STR_NULLPAD);
    H5Tset_cset(type, H5T_CSET_UTF8);
    return type;
}

static hid_t field_type(const struct field *f)
{
    switch (f->type) {
    case FIELD_I64: return H5Tcopy(H5T_STD_I64LE);
    case FIELD_U64: return H5Tcopy(H5T_STD_U64LE);
    case FIELD_I32: case FIELD_EVENT: return H5Tcopy(H5T_STD_I32LE);
    case FIELD_U8: case FIELD_LEVEL: return H5Tcopy(H5T_STD_U8LE);
    case FIELD_F64: case FIELD_TIME: return H5Tcopy(H5T_IEEE_F64LE);
    case FIELD_TEXT: break;
    }
    return text_type(f->size);
}

/* The compound laid out as the C struct; the file keeps it packed. */
hid_t table_type(const struct table *t)
{
    hid_t type = H5Tcreate(H5T_COMPOUND, t->size);
    for (int i = 0; i < t->n; i++) {
        hid_t field = field_type(&t->field[i]);
        H5Tinsert(type, t->field[i].name, t->field[i].offset, field);
        H5Tclose(field);
    }
    return type;
}

/* Rows without a tail that a dead writer had made room for and not filled: all zero bytes. */
int64_t table_rows(hid_t dataset, const struct table *t)
{
    char row[sizeof(struct sample_row)] = { 0 }, zero[sizeof row] = { 0 };
    int64_t rows = rows_of(dataset);
    hid_t type = table_type(t);
    for (; rows > 0; rows--) {
        if (rows_read(dataset, type, rows - 1, 1, row) < 0) { rows = -1; break; }
        if (memcmp(row, zero, t->size)) break;
    }
    H5Tclose(type);
    return rows;
}

/* Cut between UTF-8 characters and filled with NUL. Returns whether it was cut. */
bool copy_text(char *to, size_t room, const char *from)
{
    size_t n = strlen(from);
    bool cut = n > room;
    if (cut) for (n = room; n > 0 && ((unsigned char)from[n] & 0xC0) == 0x80; n--) ;
    memset(to, 0, room);
    memcpy(to, from, n);
    return cut;
}

/* A file may come from anywhere: control characters would reach the reader's terminal. */
static void print_text(FILE *out, const char *text, size_t room)
{
    for (size_t i = 0; i < room && text[i]; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '\n') fputs("\\n", out);
        else if (c == '\t') fputs("\\t", out);
        else if (c < 0x20 || c == 0x7F) fprintf(out, "\\x%02x", c);
        else fputc(c, out);
    }
}

static void print_time(FILE *out, double seconds)
{
    time_t whole = (time_t)seconds;
    struct tm utc;
    char text[32];
    if (!(seconds > 0 && seconds < 2.5e11) || !gmtime_r(&whole, &utc)) { fprintf(out, "%-20s", "-"); return; }
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
    fprintf(out, "%-20s", text);
}

static void print_word(FILE *out, const char *const *names, int n, int i)
{
    if (i >= 0 && i < n) fprintf(out, "%-10s", names[i]);
    else fprintf(out, "%-10d", i);
}

static void print_field(FILE *out, const struct field *f, const char *at)
{
    switch (f->type) {
    case FIELD_I64: fprintf(out, "%9lld", (long long)*(const int64_t *)at); break;
    case FIELD_U64: fprintf(out, "%14llu", (unsigned long long)*(const uint64_t *)at); break;
    case FIELD_I32: fprintf(out, "%4d", *(const int32_t *)at); break;
    case FIELD_U8: fprintf(out, "%3u", *(const uint8_t *)at); break;
    case FIELD_F64: fprintf(out, "%14.6g", *(const double *)at); break;
    case FIELD_TIME: print_time(out, *(const double *)at); break;
    case FIELD_LEVEL: print_word(out, level_name, COUNT(level_name), *(const uint8_t *)at); break;
    case FIELD_EVENT: print_word(out, event_name, COUNT(event_name), *(const int32_t *)at); break;
    case FIELD_TEXT: print_text(out, at, f->size); break;
    }
}

char *table_line(const struct table *t, const void *row)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    INVARIANT(out, "no memory for a line");
    for (int i = 0; i < t->n; i++) {
        if (i) fputs("  ", out);
        print_field(out, &t->field[i], (const char *)row + t->field[i].offset);
    }
    fclose(out);
    return text;
}

/* Tables are flushed row by row: they are short, and their rows matter when all else goes wrong. */
void store_put_row(struct store *s, enum store_table table, int64_t at, const void *row)
{
    const struct table *t = &store_table[table];
    hid_t type = table_type(t);
    rows_write(s, t->path, s->table[table], type, at, 1, row);
    H5(s, t->path, H5Dflush(s->table[table]));
    H5Tclose(type);
}

void store_add_row(struct store *s, enum store_table table, const void *row)
{
    store_put_row(s, table, s->table_rows[table], row);
    if (!s->failed) s->table_rows[table]++;
}

int store_event(struct store *s, int64_t step, enum store_level level, enum store_event code, const char *text,
                struct err *e)
{
    struct event_row row = { .step = step, .time = unix_seconds(), .level = (uint8_t)level, .code = code };
    copy_text(row.text, sizeof row.text, text);
    store_add_row(s, TABLE_EVENTS, &row);
    return store_result(s, e);
}

const struct table *table_find(const char *name)
{
    for (int i = 0; i < TABLE_COUNT; i++)
        if (!strcmp(store_table[i].path + 1, name) || !strcmp(store_table[i].path, name)) return &store_table[i];
    return NULL;
}

int store_sample(struct store *s, int64_t step, int prompt, const char *text, struct err *e)
{
    struct sample_row row = { .step = step, .prompt_id = prompt };
    row.truncated = copy_text(row.text, sizeof row.text, text);
    store_add_row(s, TABLE_SAMPLES, &row);
    return store_result(s, e);
}

/* A replay saves the steps of before again: their rows are there, and are written over. */
static int64_t checkpoint_index(struct store *s, int64_t step)
{
    struct checkpoint_row row;
    hid_t type = table_type(&store_table[TABLE_CHECKPOINTS]);
    int64_t at = s->table_rows[TABLE_CHECKPOINTS];
    for (int64_t i = at; i-- > 0 && !s->failed; ) {
        H5(s, "/checkpoints", rows_read(s->table[TABLE_CHECKPOINTS], type, i, 1, &row));
        if (!s->failed && row.step == step) { at = i; break; }
        if (!s->failed && row.step < step) break;
    }
    H5Tclose(type);
    return at;
}

int store_checkpoint(struct store *s, int64_t step, const char *file, uint64_t bytes, const char *hash, struct err *e)
{
    struct checkpoint_row row = { .step = step, .bytes = bytes };
    int64_t at = checkpoint_index(s, step);
    copy_text(row.file, sizeof row.file, file);
    copy_text(row.xxh128, sizeof row.xxh128, hash);
    if (at == s->table_rows[TABLE_CHECKPOINTS]) store_add_row(s, TABLE_CHECKPOINTS, &row);
    else store_put_row(s, TABLE_CHECKPOINTS, at, &row);
    return store_result(s, e);
}

int store_executed(struct store *s, double flops, double peak_bytes, struct err *e)
{
    store_add_row(s, TABLE_EXECUTED, &(struct executed_row){ unix_seconds(), flops, peak_bytes });
    return store_result(s, e);
}
