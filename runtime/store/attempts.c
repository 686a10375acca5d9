/* /attempts: one row for each process that worked on the run, begun when it opens the file and completed when it closes
   it, or by the next process when it died. */
#include "private.h"
#include <math.h>
#include <string.h>
#include <unistd.h>

static const char running[] = "running";

static void write_last(struct store *s)
{
    store_put_row(s, TABLE_ATTEMPTS, s->table_rows[TABLE_ATTEMPTS] - 1, &s->attempt);
    s->attempt_stale = false;
}

/* A row that still says "running" is a dead process's: it worked until the last commit. */
static void complete_dead(struct store *s)
{
    const struct metrics *m = &s->metrics[STORE_TRAIN];
    hid_t type = table_type(&store_table[TABLE_ATTEMPTS]);
    H5(s, "/attempts", rows_read(s->table[TABLE_ATTEMPTS], type, s->table_rows[TABLE_ATTEMPTS] - 1, 1, &s->attempt));
    H5Tclose(type);
    if (s->failed || strncmp(s->attempt.reason, running, sizeof s->attempt.reason)) return;
    H5(s, "/heartbeat", H5Dread(s->heartbeat, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, &s->attempt.stop));
    if (m->committed) s->attempt.last_step = m->step[m->committed - 1];
    copy_text(s->attempt.reason, sizeof s->attempt.reason, "died");
    write_last(s);
}

void attempt_begin(struct store *s, int64_t cut_rows)
{
    if (s->table_rows[TABLE_ATTEMPTS] && !s->failed) complete_dead(s);
    s->attempt = (struct attempt_row){ .attempt = (int32_t)s->table_rows[TABLE_ATTEMPTS] + 1, .first_step = -1,
                                       .last_step = -1,
                                       .cut_rows = cut_rows, .start = unix_seconds(), .stop = NAN };
    gethostname(s->attempt.host, sizeof s->attempt.host);
    copy_text(s->attempt.reason, sizeof s->attempt.reason, running);
    store_add_row(s, TABLE_ATTEMPTS, &s->attempt);
}

void attempt_step(struct store *s, int64_t step)
{
    s->attempt_stale |= s->attempt.first_step < 0;
    if (s->attempt.first_step < 0) s->attempt.first_step = step;
    s->attempt.last_step = step;
}

void attempt_commit(struct store *s) { if (s->attempt_stale) write_last(s); }

void attempt_end(struct store *s, const char *reason)
{
    s->attempt.stop = unix_seconds();
    copy_text(s->attempt.reason, sizeof s->attempt.reason, reason);
    write_last(s);
}
