/* The run file: what is written is what is read, whatever kills the writer. SLUICE_FULL=1 repeats more often. */
#define _GNU_SOURCE
#include "store/store.h"
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { L = 6, E = 16, SCALARS = 20, SERIES = 32, WIDEST = 40 * 64 };

static char folder[64], path[128];
static struct err err;

static int times(int few, int many) { return getenv("SLUICE_FULL") ? many : few; }
static void ok(int status) { if (status < 0) fail_msg("%s", err.text); }

/* The plan of a small MoE run: 20 scalars, four [L], three [L,E], every type, one row larger than a page. */
static struct series series[SERIES];
static int n_series;
static char names[SERIES][32];

static void add(enum store_group group, const char *name, enum store_type type, int64_t d0, int64_t d1,
                bool is_volatile)
{
    struct series s = { group, name, "nat", "about it", type, (d0 > 0) + (d1 > 0), { d0, d1 }, { "layer", "expert" },
                        is_volatile, BETTER_LOWER };
    series[n_series++] = s;
}

static const struct attribute root[] = {
    { "run_id", ATTRIBUTE_TEXT, "01TEST", 0, 0 }, { "replicate", ATTRIBUTE_INT, NULL, 3, 0 },
    { "rate", ATTRIBUTE_REAL, NULL, 0, 0.125 },
};
static const struct attributes groups[] = { { "/", 3, root }, { "/environment", 1, root }, { "/device", 2, root } };
static const struct cost_line costs[] = { { "head", 10, 9, 8, 7, 6, 5, 4 }, { "ffn", 1, 2, 3, 4, 5, 6, 7 } };
static char *script;

static struct store_plan plan(void)
{
    return (struct store_plan){ n_series, series, 3, groups, 2, costs, "{\"model\":{\"layers\":6}}", script, "x.lua",
                                "[]", "{\"folder\":\"/tmp\"}" };
}

static int setup(void **state)
{
    (void)state;
    for (int i = 0; i < SCALARS; i++) {
        snprintf(names[i], sizeof names[i], "scalar_%d", i);
        add(STORE_TRAIN, names[i], STORE_F64, 0, 0, false);
    }
    for (int i = 0; i < 4; i++) {
        snprintf(names[SCALARS + i], sizeof *names, "layers_%d", i);
        add(STORE_TRAIN, names[SCALARS + i], STORE_F32, L, 0, false);
    }
    add(STORE_TRAIN, "expert_tokens", STORE_U32, L, E, false);
    add(STORE_TRAIN, "router_prob_mean", STORE_F32, L, E, false);
    add(STORE_TRAIN, "tokens", STORE_I64, 0, 0, false);
    add(STORE_TRAIN, "skipped", STORE_U8, 0, 0, false);
    add(STORE_TRAIN, "wall_time", STORE_F64, 0, 0, true);
    add(STORE_TRAIN, "router_choices", STORE_I16, L, E, false);
    add(STORE_EVAL, "loss", STORE_F64, 0, 0, false);
    add(STORE_EVAL, "wide", STORE_F32, 40, 64, false);
    strcpy(folder, "/tmp/sluice-store-XXXXXX");
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/run.h5", folder);
    script = malloc(100001);
    memset(script, 'x', 100000);
    script[100000] = 0;
    signal(SIGXFSZ, SIG_IGN);
    return 0;
}

static void clear(void)
{
    DIR *d = opendir(folder);
    for (struct dirent *f; (f = readdir(d)); ) {
        char name[512];
        snprintf(name, sizeof name, "%s/%s", folder, f->d_name);
        unlink(name);
    }
    closedir(d);
}

static int teardown(void **state)
{
    (void)state;
    clear();
    free(script);
    return rmdir(folder);
}

/* What series i has at a step: a fraction exact in float, now and then missing, whole numbers for integers. */
static double value_of(int i, int64_t step, int64_t k)
{
    uint32_t mix = (uint32_t)(step * 7919 + i * 104729 + k * 31) * 2654435761u;
    if (mix % 97 == 0) return NAN;
    switch (series[i].type) {
    case STORE_F64: case STORE_F32: return (double)(mix % 100003) / 64 - 500;
    case STORE_U8: return mix & 1;
    case STORE_I16: return (int)(mix % 300) - 1;
    default: return mix % 1000000;
    }
}

static int64_t width(const struct series *s)
{
    int64_t n = 1;
    for (int i = 0; i < s->rank; i++) n *= s->dim[i];
    return n;
}

static int append(struct store *s, enum store_group group, int64_t step)
{
    static double values[SERIES][WIDEST];
    const double *row[SERIES];
    int n = 0;
    for (int i = 0; i < n_series; i++) {
        if (series[i].group != group) continue;
        for (int64_t k = 0; k < width(&series[i]); k++) values[n][k] = value_of(i, step, k);
        row[n] = values[n];
        n++;
    }
    return store_append(s, group, step, row, &err);
}

/* Steps 1.. of training, an evaluation every tenth. */
static int append_steps(struct store *s, int64_t first, int64_t last)
{
    for (int64_t step = first; step <= last; step++) {
        if (append(s, STORE_TRAIN, step) < 0) return -1;
        if (step % 10 == 0 && append(s, STORE_EVAL, step) < 0) return -1;
    }
    return 0;
}

/* Number of values that differ from value_of, -1 when something cannot be read. */
static int64_t wrong_values(struct reader *r)
{
    int64_t wrong = 0;
    for (int i = 0; i < n_series; i++) {
        int64_t rows = reader_rows(r, series[i].group), *steps;
        double *v;
        const struct reader_series *s = reader_find(r, series[i].group, series[i].name);
        if (!s || reader_steps(r, series[i].group, &steps, &err) < 0) return -1;
        if (reader_read(r, s, &v, &err) < 0) { free(steps); return -1; }
        for (int64_t row = 0; row < rows; row++)
            for (int64_t k = 0; k < width(&series[i]); k++) {
                double want = value_of(i, steps[row], k), have = v[row * width(&series[i]) + k];
                wrong += !(want == have || (isnan(want) && isnan(have)));
            }
        free(v); free(steps);
    }
    return wrong;
}

static void assert_holds(int64_t train_rows, enum store_status status)
{
    struct reader *r;
    ok(reader_open(&r, path, &err));
    assert_int_equal(reader_rows(r, STORE_TRAIN), train_rows);
    assert_int_equal(reader_rows(r, STORE_EVAL), train_rows / 10);
    assert_int_equal(reader_status(r), status);
    int64_t wrong = wrong_values(r);
    if (wrong < 0) fail_msg("%s", err.text);
    assert_int_equal(wrong, 0);
    reader_close(r);
}

static void write_run(int64_t steps)
{
    struct store *s;
    struct store_plan p = plan();
    clear();
    ok(store_create(&s, path, &p, &err));
    ok(append_steps(s, 1, steps));
    ok(store_close(s, STATUS_FINISHED, &err));
}

static void collect(void *to, const char *text) { strcat(strcat(to, text), "\n"); }

static void test_round_trip(void **state)
{
    (void)state;
    struct store *s;
    struct store_plan p = plan();
    clear();
    ok(store_create(&s, path, &p, &err));
    ok(append_steps(s, 1, 1037));
    ok(store_event(s, 5, LEVEL_WARNING, EVENT_SPIKE, "loss \x1b[31mjumped", &err));
    ok(store_sample(s, 7, 0, "once upon\na time", &err));
    ok(store_checkpoint(s, 9, "checkpoints/step-00000009", 1234, "0123456789abcdef0123456789abcdef", &err));
    ok(store_executed(s, 1e12, 5e6, &err));
    ok(store_flush(s, &err));
    assert_int_equal(store_rows(s, STORE_EVAL), 103);
    ok(store_close(s, STATUS_FINISHED, &err));
    assert_holds(1037, STATUS_FINISHED);

    struct reader *r;
    char text[4096] = "";
    ok(reader_open(&r, path, &err));
    assert_int_equal(reader_series_count(r), n_series);
    for (int i = 0; i < n_series; i++) {
        const struct reader_series *f = reader_series(r, i);
        assert_string_equal(f->name, series[i].name);
        assert_string_equal(f->unit, "nat");
        assert_string_equal(f->about, "about it");
        assert_int_equal(f->type, series[i].type);
        assert_int_equal(f->rank, series[i].rank);
        assert_int_equal(f->is_volatile, series[i].is_volatile);
        for (int k = 0; k < f->rank; k++) {
            assert_int_equal(f->dim[k], series[i].dim[k]);
            assert_string_equal(f->dim_name[k], series[i].dim_name[k]);
        }
    }
    assert_string_equal(reader_script(r), script);
    assert_string_equal(reader_config(r), p.config_json);
    assert_string_equal(reader_required(r), p.required_json);
    assert_string_equal(reader_record(r), p.record_json);
    assert_string_equal(reader_text(r, "/", "run_id"), "01TEST");
    assert_string_equal(reader_text(r, "/device", "replicate"), "3");
    assert_string_equal(reader_text(r, "/", "rate"), "0.125");
    assert_string_equal(reader_text(r, "/", "nothing"), "");
    static const char *const tables[] = { "events", "samples", "checkpoints", "attempts", "cost/executed",
                                          "cost/planned" };
    for (int i = 0; i < COUNT(tables); i++) ok(reader_table(r, tables[i], collect, text, &err));
    assert_non_null(strstr(text, "warning     spike       loss \\x1b[31mjumped\n"));
    assert_non_null(strstr(text, "once upon\\na time\n"));
    assert_non_null(strstr(text, "checkpoints/step-00000009"));
    assert_non_null(strstr(text, "   1          1       1037          0  "));
    assert_non_null(strstr(text, "1e+12"));
    assert_non_null(strstr(text, "ffn"));
    assert_int_equal(reader_table(r, "evnts", collect, text, &err), -1);
    reader_close(r);

    assert_int_equal(store_create(&s, path, &p, &err), -1);
    assert_non_null(strstr(err.text, "exists already"));
}

static void test_refusals(void **state)
{
    (void)state;
    struct store *s;
    struct store_plan p = plan();
    double bad = -1, zero = 0, *value[SERIES] = { 0 };
    for (int i = 0; i < SERIES; i++) value[i] = calloc(WIDEST, sizeof(double));
    clear();
    ok(store_create(&s, path, &p, &err));
    assert_int_equal(append(s, STORE_TRAIN, -1), -1);
    value[SCALARS + 4][3] = bad;                                /* expert_tokens */
    assert_int_equal(store_append(s, STORE_TRAIN, 1, (const double *const *)value, &err), -1);
    assert_non_null(strstr(err.text, "train/expert_tokens[3] = -1 does not fit its type"));
    value[SCALARS + 4][3] = zero;
    value[SCALARS + 7][0] = 0.5;                                /* skipped */
    assert_int_equal(store_append(s, STORE_TRAIN, 1, (const double *const *)value, &err), -1);
    ok(append_steps(s, 1, 5));
    ok(store_close(s, STATUS_FAILED, &err));
    assert_holds(5, STATUS_FAILED);
    for (int i = 0; i < SERIES; i++) free(value[i]);
}

/* A writer that confirms on a pipe what each flush committed, until it is killed. */
struct confirmed { int64_t train, eval; };

static _Noreturn void writer_loop(struct store *s, int out)
{
    for (int64_t step = 1;; step++) {
        if (append_steps(s, step, step) < 0) _exit(store_exit_code(s));
        struct confirmed c = { store_rows(s, STORE_TRAIN), store_rows(s, STORE_EVAL) };
        if (write(out, &c, sizeof c) != sizeof c) _exit(11);
    }
}

static _Noreturn void writer(int out, bool resume)
{
    struct store *s;
    struct store_plan p = plan();
    if ((resume ? store_resume : store_create)(&s, path, &p, &err) < 0) _exit(10);
    writer_loop(s, out);
}

static struct confirmed kill_writer(bool resume, long microseconds)
{
    int ends[2];
    struct confirmed last = { 0, 0 }, c;
    assert_int_equal(pipe(ends), 0);
    fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);
    pid_t child = fork();
    if (child == 0) { close(ends[0]); writer(ends[1], resume); }
    close(ends[1]);
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    double stop = clock_seconds() + 1e-6 * (double)microseconds;
    while (clock_seconds() < stop) {                            /* drain, so that the writer never waits for us */
        fcntl(ends[0], F_SETFL, O_NONBLOCK);
        if (read(ends[0], &c, sizeof c) == sizeof c) last = c;
        else usleep(200);
    }
    kill(child, SIGKILL);
    int status;
    waitpid(child, &status, 0);
    assert_true(WIFSIGNALED(status));
    while (read(ends[0], &c, sizeof c) == sizeof c) last = c;
    close(ends[0]);
    return last;
}

/* Kill -9 at any moment: what was confirmed is there, the file is mended, continued and right to the last bit. */
static void test_kill(void **state)
{
    (void)state;
    struct key key = { 11, PURPOSE_TEST, 0, 0 };
    int64_t ragged = 0, rows = 0;
    long slow = 1;                                          /* of a machine that commits nothing so soon */
    for (int k = 0; k < times(20, 300); k++) {
        clear();
        if (k % 4 == 3 && rows == 0) slow *= 3;
        struct confirmed c = kill_writer(false, slow * (30000 + (long)key_below(key, (uint64_t)k, 60000)));
        for (int again = 0; again <= k % 3; again++) {
            if (again) {
                long wait = 20000 + (long)key_below(key, 1000 + (uint64_t)k, 60000);
                struct confirmed more = kill_writer(true, slow * wait);
                if (more.train > c.train) c = more;
            }
            if (access(path, F_OK) < 0) { assert_int_equal(c.train, 0); break; }
            struct reader *r;
            struct fsck_result f;
            ok(reader_open(&r, path, &err));
            int64_t train = reader_rows(r, STORE_TRAIN), eval = reader_rows(r, STORE_EVAL);
            if (train < c.train || train > c.train + 10 || eval < c.eval)
                fail_msg("kill %d: confirmed %lld, found %lld", k, (long long)c.train, (long long)train);
            assert_int_equal(wrong_values(r), 0);
            reader_close(r);
            ok(store_fsck(path, false, &f, &err));
            if (!f.readable) fail_msg("kill %d: %s", k, f.text);
            if (!again) assert_false(f.clean);
            ragged += f.ragged_rows > 0;
            rows += train;
            if (k % 2) {
                bool was_clean = f.clean;    /* a writer that was killed before it opened the file left it so */
                ok(store_fsck(path, true, &f, &err));
                if (!f.clean || f.repaired == was_clean || f.rows != train) fail_msg("kill %d: %s", k, f.text);
            }
        }
        if (access(path, F_OK) < 0) continue;
        struct store *s;
        struct store_plan p = plan();
        ok(store_resume(&s, path, &p, &err));
        int64_t kept = store_rows(s, STORE_TRAIN);
        ok(append_steps(s, 1, kept + 25));
        ok(store_close(s, STATUS_FINISHED, &err));
        struct reader *r;
        struct fsck_result f;
        ok(reader_open(&r, path, &err));
        assert_int_equal(reader_rows(r, STORE_TRAIN), kept + 25);
        assert_int_equal(reader_rows(r, STORE_EVAL), (kept + 25) / 10);
        assert_int_equal(wrong_values(r), 0);
        reader_close(r);
        ok(store_fsck(path, false, &f, &err));
        if (!f.clean) fail_msg("kill %d: %s", k, f.text);
    }
    print_message("    %d kills, %lld committed rows, %lld ragged files\n", times(20, 300), (long long)rows,
                  (long long)ragged);
    assert_true(rows > 0);
}

static pid_t creator(void)
{
    clear();
    pid_t child = fork();
    if (child != 0) return child;
    struct store *s;
    struct store_plan p = plan();
    if (store_create(&s, path, &p, &err) < 0) _exit(1);
    for (;;) pause();
}

/* Kill -9 while the file is being made: there is a whole file under the name, or none. The kills are spread over twice
   the time that a creation takes on this machine, and go on until both have been seen. */
static void test_kill_creation(void **state)
{
    (void)state;
    enum { PATIENCE = 2000 };
    int none = 0, whole = 0;
    double begin = clock_seconds();
    pid_t child = creator();
    while (access(path, F_OK) < 0) usleep(100);
    double longest = clock_seconds() - begin;
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    for (int k = 0; k < PATIENCE && (k < times(40, 300) || !none || !whole); k++) {
        child = creator();
        usleep((useconds_t)(1e6 * 2 * longest * key_uniform((struct key){ 1, PURPOSE_TEST, 0, 0 }, (uint64_t)k)));
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        struct reader *r;
        if (access(path, F_OK) < 0) { none++; continue; }
        whole++;
        ok(reader_open(&r, path, &err));
        assert_int_equal(reader_rows(r, STORE_TRAIN), 0);
        assert_int_equal(reader_series_count(r), n_series);
        reader_close(r);
    }
    assert_true(none > 0 && whole > 0);
}

/* No write goes through beyond a size, at several sizes: exit code 6, the file is readable, no confirmed row is
   lost. */
static void test_full_disk(void **state)
{
    (void)state;
    int named = 0;
    for (int k = 0; k < times(20, 60); k++) {
        clear();
        int ends[2], status;
        struct confirmed last = { 0, 0 }, c;
        rlim_t bytes = (rlim_t)(20000 * pow(1.3, 20.0 * k / times(20, 60)));
        assert_int_equal(pipe(ends), 0);
        pid_t child = fork();
        if (child == 0) {
            setrlimit(RLIMIT_FSIZE, &(struct rlimit){ bytes, bytes });
            struct store *s;
            struct store_plan p = plan();
            close(ends[0]);
            if (store_create(&s, path, &p, &err) < 0) _exit(errno == EFBIG ? 6 : 1);
            writer_loop(s, ends[1]);
        }
        close(ends[1]);
        while (read(ends[0], &c, sizeof c) == sizeof c) last = c;
        close(ends[0]);
        waitpid(child, &status, 0);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 6)
            fail_msg("%llu bytes: status %x", (unsigned long long)bytes, status);
        if (access(path, F_OK) < 0) { assert_int_equal(last.train, 0); continue; }
        named++;
        struct reader *r;
        struct fsck_result f;
        ok(reader_open(&r, path, &err));
        assert_true(reader_rows(r, STORE_TRAIN) >= last.train && reader_rows(r, STORE_EVAL) >= last.eval);
        assert_int_equal(wrong_values(r), 0);
        int64_t rows = reader_rows(r, STORE_TRAIN);
        reader_close(r);
        ok(store_fsck(path, true, &f, &err));
        if (!f.clean || f.rows != rows) fail_msg("%llu bytes: %s", (unsigned long long)bytes, f.text);
        struct store *s;
        struct store_plan p = plan();
        ok(store_resume(&s, path, &p, &err));
        ok(append_steps(s, 1, rows + 15));
        ok(store_close(s, STATUS_FINISHED, &err));
        assert_holds(rows + 15, STATUS_FINISHED);
    }
    assert_in_range(named, 5, times(20, 60) - 1);
}

static void resume_refused(struct store_plan p, const char *words)
{
    struct store *s;
    assert_int_equal(store_resume(&s, path, &p, &err), -1);
    if (!strstr(err.text, words)) fail_msg("'%s' does not say '%s'", err.text, words);
}

static int append_changed(struct store *s, int64_t step, int which, double by)
{
    double *value[SERIES] = { 0 };
    int n = 0;
    for (int i = 0; i < n_series; i++) {
        if (series[i].group != STORE_TRAIN) continue;
        value[n] = calloc((size_t)width(&series[i]), sizeof(double));
        for (int64_t k = 0; k < width(&series[i]); k++) value[n][k] = value_of(i, step, k);
        if (i == which) value[n][width(&series[i]) - 1] += by;
        n++;
    }
    int status = store_append(s, STORE_TRAIN, step, (const double *const *)value, &err);
    while (n--) free(value[n]);
    return status;
}

/* Replayed rows are held against the committed ones: one bit is a mismatch, unless the series is volatile. */
static void test_replay(void **state)
{
    (void)state;
    struct store *s;
    struct store_plan p = plan();
    clear();
    ok(store_create(&s, path, &p, &err));
    for (int64_t step = 2; step <= 40; step += 2) ok(append(s, STORE_TRAIN, step));
    ok(store_close(s, STATUS_PREEMPTED, &err));
    ok(store_resume(&s, path, &p, &err));
    ok(append(s, STORE_TRAIN, 10));
    ok(append_changed(s, 12, SCALARS + 8, 1));                  /* wall_time */
    assert_false(store_mismatch(s));
    assert_int_equal(append_changed(s, 14, SCALARS + 5, 1e-4), -1);
    assert_non_null(strstr(err.text, "train/router_prob_mean[95] at step 14 was"));
    assert_true(store_mismatch(s));
    assert_int_equal(store_exit_code(s), 8);
    assert_int_equal(append(s, STORE_TRAIN, 13), -1);
    assert_non_null(strstr(err.text, "step 13 was not among the committed"));
    ok(append(s, STORE_TRAIN, 42));
    ok(append(s, STORE_TRAIN, 42));                             /* not yet flushed: the same rule */
    assert_int_equal(append_changed(s, 42, 0, 1), -1);
    assert_int_equal(store_rows(s, STORE_TRAIN), 21);
    ok(store_close(s, STATUS_FAILED, &err));

    struct series changed[SERIES];
    memcpy(changed, series, sizeof series);
    p.series = changed;
    p.n_series--;
    resume_refused(p, "has 32 series, the plan has 31");
    p.n_series++;
    changed[SCALARS].type = STORE_F64;
    resume_refused(p, "train/layers_0 has another type");
    changed[SCALARS] = series[SCALARS];
    changed[SCALARS].dim[0] = L + 1;
    resume_refused(p, "train/layers_0 has another type or other dimensions");
    changed[SCALARS] = series[SCALARS];
    changed[3].name = "loss_other";
    resume_refused(p, "has no series train/loss_other");
    p = plan();
    p.config_json = "{}";
    resume_refused(p, "another configuration");
}

/* Each process has its row, also the killed one. */
static void test_attempts(void **state)
{
    (void)state;
    struct reader *r;
    struct store *s;
    struct store_plan p = plan();
    char text[1024] = "", died[64], went_on[64];
    clear();
    while (!kill_writer(false, 60000).train) clear();
    ok(store_resume(&s, path, &p, &err));
    int64_t rows = store_rows(s, STORE_TRAIN);
    snprintf(died, sizeof died, "   1          1  %9lld          0  ", (long long)rows);
    snprintf(went_on, sizeof went_on, "   2          4  %9lld", (long long)rows + 2);
    ok(append_steps(s, 4, rows + 2));
    ok(store_close(s, STATUS_PREEMPTED, &err));
    ok(reader_open(&r, path, &err));
    ok(reader_table(r, "attempts", collect, text, &err));
    assert_int_equal(reader_status(r), STATUS_PREEMPTED);
    reader_close(r);
    if (!strstr(text, died) || !strstr(text, "  died\n") || !strstr(text, went_on) || !strstr(text, "  preempted\n"))
        fail_msg("%s", text);
}

/* One bit of the file is flipped: the values are right, or the damage is found. */
static void test_bit_flips(void **state)
{
    (void)state;
    struct key key = { 12, PURPOSE_TEST, 0, 0 };
    int found = 0, harmless = 0, n = times(100, 600);
    write_run(300);
    struct stat st;
    int fd = open(path, O_RDWR);
    fstat(fd, &st);
    for (int k = 0; k < n; k++) {
        off_t at = (off_t)key_below(key, 2 * (uint64_t)k, (uint64_t)st.st_size);
        unsigned char byte, was;
        int status;
        assert_int_equal(pread(fd, &was, 1, at), 1);
        byte = was ^ (unsigned char)(1 << key_below(key, 2 * (uint64_t)k + 1, 8));
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
        struct fsck_result f;
        ok(store_fsck(path, false, &f, &err));
        if (f.clean) {
            pid_t child = fork();
            if (child == 0) {
                struct reader *r;
                if (reader_open(&r, path, &err) < 0) _exit(1);
                int64_t wrong = wrong_values(r);
                _exit(wrong < 0 ? 1 : wrong ? 2 : 0);
            }
            waitpid(child, &status, 0);
            if (!WIFEXITED(status) || WEXITSTATUS(status))
                fail_msg("byte %lld: fsck says clean, reading gives %x", (long long)at, status);
            harmless++;
        } else found++;
        assert_int_equal(pwrite(fd, &was, 1, at), 1);
    }
    close(fd);
    print_message("    %d bits flipped: %d found, %d where nothing lies, 0 silently wrong\n", n, found, harmless);
    assert_true(found > n / 4);
    assert_holds(300, STATUS_FINISHED);
}

static void spoil(off_t at, const void *bytes, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT, 0644);
    assert_int_equal(pwrite(fd, bytes, n, at), (ssize_t)n);
    close(fd);
}

/* Files that are none of ours: refused in words, by the reader and by fsck. */
static void test_foreign(void **state)
{
    (void)state;
    struct reader *r;
    struct fsck_result f;
    clear();
    assert_int_equal(reader_open(&r, path, &err), -1);
    assert_non_null(strstr(err.text, "No such file"));
    assert_int_equal(store_fsck(path, false, &f, &err), -1);
    spoil(0, "step,loss\n1,2\n", 14);
    assert_int_equal(reader_open(&r, path, &err), -1);
    assert_non_null(strstr(err.text, "not a run file"));
    ok(store_fsck(path, true, &f, &err));
    assert_false(f.readable || f.repaired);
    for (int64_t length = 0; length < 200000; length += 9973) {
        write_run(40);
        assert_int_equal(truncate(path, length), 0);
        ok(store_fsck(path, true, &f, &err));
        if (f.readable || f.repaired) fail_msg("cut to %lld bytes: %s", (long long)length, f.text);
        assert_true(strlen(f.text) > 0);
    }
}

/* A process that holds run.lock is alive: no repair under its hands. */
static void test_fsck_lock(void **state)
{
    (void)state;
    struct fsck_result f;
    char lock[160];
    clear();
    do clear(); while (!kill_writer(false, 60000).train);
    snprintf(lock, sizeof lock, "%s/run.lock", folder);
    int fd = open(lock, O_RDWR | O_CREAT, 0644);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_int_equal(store_fsck(path, true, &f, &err), -1);
    assert_non_null(strstr(err.text, "a live process holds run.lock"));
    ok(store_fsck(path, false, &f, &err));
    assert_true(f.readable && !f.clean && !f.repaired);
    close(fd);
    ok(store_fsck(path, true, &f, &err));
    assert_true(f.clean && f.repaired);
}

/* While a writer appends as fast as it can, other processes read: our reader, and h5py. */
static pid_t start_writer(void)
{
    int ends[2];
    struct confirmed c;
    clear();
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        struct store *s;
        struct store_plan p = plan();
        close(ends[0]);
        signal(SIGPIPE, SIG_IGN);
        if (store_create(&s, path, &p, &err) < 0) _exit(1);
        for (int64_t step = 1;; step++) {
            if (append_steps(s, step, step) < 0) _exit(store_exit_code(s));
            c = (struct confirmed){ store_rows(s, STORE_TRAIN), 0 };
            if (c.train && write(ends[1], &c, sizeof c) < 0) usleep(1000);
        }
    }
    close(ends[1]);
    assert_int_equal(read(ends[0], &c, sizeof c), sizeof c);    /* rows are committed */
    close(ends[0]);
    return child;
}

static void stop_writer(pid_t child)
{
    int status;
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    assert_true(WIFSIGNALED(status));
}

static void test_live_reader(void **state)
{
    (void)state;
    int64_t rows = 0, first = -1;
    pid_t child = start_writer();
    for (int k = 0; k < times(30, 300); k++) {
        struct reader *r;
        ok(reader_open(&r, path, &err));
        int64_t wrong = wrong_values(r);
        if (wrong < 0) fail_msg("%s", err.text);
        assert_int_equal(wrong, 0);
        assert_true(reader_rows(r, STORE_TRAIN) >= rows);
        rows = reader_rows(r, STORE_TRAIN);
        if (first < 0) first = rows;
        reader_close(r);
    }
    stop_writer(child);
    assert_true(rows > first);
}

static int run_python(const char *mode)
{
    char command[256];
    fflush(NULL);
    snprintf(command, sizeof command, "/usr/bin/python3 tests/h5py_read.py %s %s", mode, path);
    int status = system(command);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) { print_message("    h5py is missing: NOT TESTED\n"); skip(); }
    return status;
}

static void test_h5py(void **state)
{
    (void)state;
    write_run(257);
    assert_int_equal(run_python("closed"), 0);
    pid_t child = start_writer();
    int status = run_python("live");
    stop_writer(child);
    assert_int_equal(status, 0);
}

static void test_cost(void **state)
{
    (void)state;
    struct store *s;
    struct store_plan p = plan();
    double *value[SERIES] = { 0 }, *again;
    int64_t rows = 5000;
    p.n_series = SCALARS + 6;
    for (int i = 0; i < p.n_series; i++) value[i] = calloc((size_t)width(&series[i]), sizeof(double));
    clear();
    ok(store_create(&s, path, &p, &err));
    double start = clock_seconds();
    for (int64_t step = 1; step <= rows; step++) {
        for (int i = 0; i < SCALARS; i++) value[i][0] = (double)step;
        ok(store_append(s, STORE_TRAIN, step, (const double *const *)value, &err));
    }
    ok(store_flush(s, &err));
    print_message("    %.0f us a row (20 scalars, 4 x [6], 2 x [6,16]; flushed every 10)\n",
                  1e6 * (clock_seconds() - start) / (double)rows);
    ok(store_close(s, STATUS_FINISHED, &err));
    struct reader *r;
    ok(reader_open(&r, path, &err));
    ok(reader_read(r, reader_series(r, 0), &again, &err));
    assert_true(again[rows - 1] == (double)rows);
    reader_close(r);
    free(again);
    for (int i = 0; i < p.n_series; i++) free(value[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_kill),
        cmocka_unit_test(test_kill_creation),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_replay),
        cmocka_unit_test(test_attempts),
        cmocka_unit_test(test_bit_flips),
        cmocka_unit_test(test_foreign),
        cmocka_unit_test(test_fsck_lock),
        cmocka_unit_test(test_live_reader),
        cmocka_unit_test(test_h5py),
        cmocka_unit_test(test_cost),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
