/* The run file: what is written is what is read, whatever kills the writer. SLUICE_FULL=1 repeats more often. */
#define _GNU_SOURCE
#include "store.h"
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

/* The plan of a small MoE run: 20 scalars, four [L], two [L,E], every type, one row larger than a page. */
static struct series series[SERIES];
static int n_series;
static char names[SERIES][32];

static void add(enum store_group group, const char *name, enum store_type type, int64_t d0, int64_t d1, bool is_volatile)
{
    struct series s = { group, name, "nat", "about it", type, (d0 > 0) + (d1 > 0), { d0, d1 }, { "layer", "expert" }, is_volatile };
    series[n_series++] = s;
}

static const struct attribute root[] = {
    { "run_id", ATTRIBUTE_TEXT, "01TEST", 0, 0 }, { "replicate", ATTRIBUTE_INT, NULL, 3, 0 }, { "rate", ATTRIBUTE_REAL, NULL, 0, 0.125 },
};
static const struct attributes groups[] = { { "/", 3, root }, { "/environment", 1, root }, { "/device", 1, root } };
static const struct cost_line costs[] = { { "head", 10, 9, 8, 7, 6, 5, 4 }, { "ffn", 1, 2, 3, 4, 5, 6, 7 } };
static char *script;

static struct store_plan plan(void)
{
    return (struct store_plan){ n_series, series, 3, groups, 2, costs, "{\"model\":{\"layers\":6}}", script, "x.lua" };
}

static int setup(void **state)
{
    (void)state;
    for (int i = 0; i < SCALARS; i++) { snprintf(names[i], sizeof names[i], "scalar_%d", i); add(STORE_TRAIN, names[i], STORE_F64, 0, 0, false); }
    for (int i = 0; i < 4; i++) { snprintf(names[SCALARS + i], sizeof *names, "layers_%d", i); add(STORE_TRAIN, names[SCALARS + i], STORE_F32, L, 0, false); }
    add(STORE_TRAIN, "expert_tokens", STORE_U32, L, E, false);
    add(STORE_TRAIN, "router_prob_mean", STORE_F32, L, E, false);
    add(STORE_TRAIN, "tokens", STORE_I64, 0, 0, false);
    add(STORE_TRAIN, "skipped", STORE_U8, 0, 0, false);
    add(STORE_TRAIN, "wall_time", STORE_F64, 0, 0, true);
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
    ok(store_attempt(s, 0, 9, 0, "here", 1700000000, 1700000001, "finished", &err));
    ok(store_executed(s, 1e12, 5e6, &err));
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
        for (int k = 0; k < f->rank; k++) { assert_int_equal(f->dim[k], series[i].dim[k]); assert_string_equal(f->dim_name[k], series[i].dim_name[k]); }
    }
    assert_string_equal(reader_script(r), script);
    assert_string_equal(reader_config(r), p.config_json);
    assert_string_equal(reader_text(r, "/", "run_id"), "01TEST");
    assert_string_equal(reader_text(r, "/device", "replicate"), "3");
    assert_string_equal(reader_text(r, "/", "rate"), "0.125");
    assert_string_equal(reader_text(r, "/", "nothing"), "");
    static const char *const tables[] = { "events", "samples", "checkpoints", "attempts", "cost/executed", "cost/planned" };
    for (int i = 0; i < COUNT(tables); i++) ok(reader_table(r, tables[i], collect, text, &err));
    assert_non_null(strstr(text, "warning     spike       loss \\x1b[31mjumped\n"));
    assert_non_null(strstr(text, "once upon\\na time\n"));
    assert_non_null(strstr(text, "checkpoints/step-00000009"));
    assert_non_null(strstr(text, "here  2023-11-14T22:13:20Z  2023-11-14T22:13:21Z  finished\n"));
    assert_non_null(strstr(text, "1e+12"));
    assert_non_null(strstr(text, "ffn"));
    assert_int_equal(reader_table(r, "evnts", collect, text, &err), -1);
    reader_close(r);

    assert_int_equal(store_create(&s, path, &p, &err), -1);
    assert_non_null(strstr(err.text, "exists already"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
