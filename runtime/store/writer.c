/* Writing a run file. Rows wait in memory until the next flush; then every series gets its rows, and `step`
   comes last: a row exists when its step does. Under SWMR a killed writer leaves what it had flushed. */
#include "private.h"
#include "base/file.h"
#include <string.h>
#include <unistd.h>

static void write_one(struct store *s, const char *what, hid_t data, hid_t type, const void *value)
{
    H5(s, what, H5Dwrite(data, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, value));
    H5(s, what, H5Dflush(data));
}

void store_set_status(struct store *s, enum store_status status)
{
    write_one(s, "/status", s->status, H5T_NATIVE_UINT8, &(uint8_t){ (uint8_t)status });
    s->running = status == STATUS_RUNNING;
}

void store_sync(struct store *s)
{
    if (!s->failed && fdatasync(s->fd) < 0) store_broken_by_system(s, "fdatasync");
    s->synced = clock_seconds();
}

static void keep_steps(struct metrics *m)
{
    if (m->committed + m->pending > m->room) {
        m->room *= 2;
        m->step = xrealloc(m->step, (size_t)m->room * sizeof *m->step);
    }
    memcpy(m->step + m->committed, m->pending_step, (size_t)m->pending * sizeof *m->step);
    m->committed += m->pending;
    m->pending = 0;
}

void store_commit(struct store *s)
{
    for (int g = 0; g < STORE_GROUPS; g++) {
        struct metrics *m = &s->metrics[g];
        for (int i = 0; i < m->n && m->pending; i++) {
            struct column *c = &m->column[i];
            rows_write(s, c->name, c->data, store_number(c->type).memory, m->committed, m->pending, c->pending);
            H5(s, c->name, H5Dflush(c->data));
        }
    }
    /* A kill needs no sync; a power cut does, and takes what came since the last one, at most half a second ago. */
    if (clock_seconds() - s->synced >= FLUSH_SECONDS) store_sync(s);
    for (int g = 0; g < STORE_GROUPS; g++) {
        struct metrics *m = &s->metrics[g];
        if (!m->pending) continue;
        rows_write(s, "step", m->step_data, H5T_NATIVE_INT64, m->committed, m->pending, m->pending_step);
        H5(s, "step", H5Dflush(m->step_data));
        if (!s->failed) keep_steps(m);
    }
    if (!s->running) store_set_status(s, STATUS_RUNNING);
    attempt_commit(s);
    write_one(s, "/heartbeat", s->heartbeat, H5T_NATIVE_DOUBLE, &(double){ unix_seconds() });
    s->flushed = clock_seconds();
}

int store_flush(struct store *s, struct err *e)
{
    store_commit(s);
    store_sync(s);
    return store_result(s, e);
}

static int keep_row(struct store *s, enum store_group group, const double *const *value, struct err *e)
{
    struct metrics *m = &s->metrics[group];
    for (int i = 0; i < m->n; i++) {
        struct column *c = &m->column[i];
        size_t size = c->bytes / c->count;
        char *to = c->pending + (size_t)m->pending * c->bytes;
        for (size_t k = 0; k < c->count; k++)
            if (!store_convert(c->type, value[i][k], to + k * size))
                return err_set(e, "%s: %s/%s[%zu] = %.17g does not fit its type", s->path, store_group_name[group],
                               c->name, k, value[i][k]);
    }
    return 0;
}

int store_append(struct store *s, enum store_group group, int64_t step, const double *const *value, struct err *e)
{
    struct metrics *m = &s->metrics[group];
    if (s->failed) return store_result(s, e);
    if (step < 0) return err_set(e, "%s: %s: step %lld is negative", s->path, store_group_name[group], (long long)step);
    if (m->pending && step <= m->pending_step[m->pending - 1]) store_commit(s);
    bool replay = !m->pending && m->committed && step <= m->step[m->committed - 1];
    if ((replay ? replay_row(s, group, step, value, e) : keep_row(s, group, value, e)) < 0) return -1;
    if (group == STORE_TRAIN) attempt_step(s, step);
    if (replay) return 0;
    m->pending_step[m->pending++] = step;
    if (m->pending == FLUSH_ROWS || clock_seconds() - s->flushed >= FLUSH_SECONDS) store_commit(s);
    return store_result(s, e);
}

bool store_failed(const struct store *s) { return s->failed; }
bool store_mismatch(const struct store *s) { return s->mismatch; }
int64_t store_rows(const struct store *s, enum store_group group) { return s->metrics[group].committed; }
int store_exit_code(const struct store *s)
{
    return s->failed ? (file_is_full(s->cause) ? 6 : 1) : s->mismatch ? 8 : 0;
}
