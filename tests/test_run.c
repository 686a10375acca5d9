/* Runs as a whole, in processes of their own: memory against the plan, rules that stop, values that go bad. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <ftw.h>
#include <malloc.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "train/checkpoint.h"
#include "base/process.h"
#include "train/stop.h"
#include "train/train.h"

#define TEXT(...) #__VA_ARGS__

/* About 2 M parameters. */
static const char *const micro = TEXT({
    "model": { "layers": 4, "d_model": 128, "seq": 128, "vocab": 256,
        "attention": {"module": "gqa", "heads": 4, "kv_heads": 2, "head_dim": 32},
        "ffn": {"module": "moe", "experts": 8, "d_ff": 128, "router": {"top_k": 2}} },
    "train": { "steps": 10, "batch": 8, "optim": {"module": "adamw", "lr": 0.001} }
});

/* ---- memory ---- */

static size_t mapped;
static void *counting_alloc(void *device, size_t bytes)
{
    mapped += bytes;
    return backend_cpu.alloc(device, bytes);
}

static size_t heap(void)
{
    struct mallinfo2 m = mallinfo2();
    return m.uordblks + m.hblkhd;
}

static void memory_is_what_was_planned(void **state)
{
    (void)state;
    struct session *s;
    struct err e;
    json_t *json = json_loads(micro, 0, NULL);
    size_t before = heap();
    if (session_new(&s, json, 1, &e)) fail_msg("%s", e.text);
    double used = (double)(heap() - before), planned = (double)session_bytes(s);
    struct backend counting = backend_cpu;
    counting.alloc = counting_alloc;
    /* The same plans once more, over memory that is counted. */
    struct plan *plan, *eval;
    assert_int_equal(plan_new(&plan, s->graph, (struct plan_how){ &counting, PRECISION_FP32, RECOMPUTE_NONE }, &e), 0);
    assert_int_equal(plan_new(&eval, s->eval_graph, (struct plan_how){ &counting, PRECISION_FP32, RECOMPUTE_NONE }, &e),
                     0);
    struct state *memory = state_new(s->leaves, &counting, 1);
    plan_bind(plan, memory, NULL);
    plan_bind(eval, memory, plan);
    print_message("%.2f MiB planned, %.2f mapped, %.2f of heap\n", planned / (1 << 20), (double)mapped / (1 << 20),
                  used / (1 << 20));
    assert_int_equal(mapped, session_bytes(s));
    assert_true(used < 0.05 * planned);
    plan_free(plan);
    plan_free(eval);
    state_free(memory);
    session_free(s);
    json_decref(json);
}

/* ---- rules that stop ---- */

static struct train_conf rules(int window, double sigma, double dead)
{
    return (struct train_conf){ .steps = 1000, .stop_window = window, .stop_sigma = sigma, .stop_dead = dead };
}

static struct stop *reload(struct stop *s, const struct train_conf *c, int64_t experts)
{
    json_t *memory = stop_save(s);
    struct stop *again = stop_new(c, experts);
    stop_load(again, memory);
    json_decref(memory);
    stop_free(s);
    return again;
}

static void values_that_are_no_numbers_stop_a_run(void **state)
{
    (void)state;
    struct train_conf c = rules(5, 0, 0);
    struct stop *s = stop_new(&c, 0);
    assert_null(stop_look(s, 1, 1, 7, NULL));
    assert_non_null(stop_look(s, NAN, 1, 7, NULL));
    assert_non_null(stop_look(s, INFINITY, 1, 7, NULL));
    assert_non_null(stop_look(s, 1, NAN, 7, NULL));
    assert_null(stop_look(s, 1e30, 1, 7, NULL));               /* no rule was asked for */
    stop_free(s);
}

/* A loss that stays above stops at its tenth step; one that comes back does not; what is remembered survives a
   checkpoint. */
static void a_loss_that_stays_high_stops_a_run(void **state)
{
    (void)state;
    struct train_conf c = rules(20, 3, 0);
    for (int back = 0; back < 2; back++) {
        struct stop *s = stop_new(&c, 0);
        for (int i = 0; i < 40; i++) assert_null(stop_look(s, 2 + 0.01 * (i % 3), 1, 7, NULL));
        for (int i = 0; i < 9; i++) {
            assert_null(stop_look(s, 5, 1, 7, NULL));
            s = reload(s, &c, 0);
        }
        if (back) assert_null(stop_look(s, 2, 1, 7, NULL));
        const char *reason = stop_look(s, 5, 1, 7, NULL);
        if (back) assert_null(reason);
        else assert_non_null(strstr(reason, "stop_sigma"));
        stop_free(s);
    }
}

/* A step without a target has no loss, which is none that is no number; a window of them in a row, or a whole run,
   stops. */
static void steps_without_a_target_stop_a_run(void **state)
{
    (void)state;
    struct train_conf c = rules(20, 0, 0);
    for (c.steps = 1000; c.steps > 0; c.steps -= 993) {
        struct stop *s = stop_new(&c, 0);
        int most = c.steps == 1000 ? 20 : 7;
        for (int again = 0; again < 2; again++) {
            for (int i = 0; i < most - 1; i++) {
                assert_null(stop_look(s, NAN, 0, 0, NULL));
                s = reload(s, &c, 0);
            }
            if (again == 0) assert_null(stop_look(s, 1, 1, 1, NULL));
        }
        assert_non_null(strstr(stop_look(s, NAN, 0, 0, NULL), "no target"));
        assert_non_null(strstr(stop_look(s, NAN, NAN, 0, NULL), "gradient norm"));
        stop_free(s);
    }
}

/* Two of the six experts that are there get nothing for a window of five steps. */
static void starving_experts_stop_a_run(void **state)
{
    (void)state;
    double tokens[8] = { 4, 0, 7, NAN, NAN, 1, 0, 2 };
    for (int asked = 0; asked < 2; asked++) {
        struct train_conf c = rules(5, 0, asked ? 0.5 : 0.33);
        struct stop *s = stop_new(&c, 8);
        for (int i = 0; i < 3; i++) assert_null(stop_look(s, 1, 1, 7, tokens));
        tokens[1] = 1;                                      /* one token, and the count begins anew */
        assert_null(stop_look(s, 1, 1, 7, tokens));
        tokens[1] = 0;
        for (int i = 0; i < 4; i++) {
            assert_null(stop_look(s, 1, 1, 7, tokens));
            s = reload(s, &c, 8);
        }
        const char *reason = stop_look(s, 1, 1, 7, tokens);
        if (asked) assert_null(reason);
        else assert_non_null(strstr(reason, "stop_dead"));
        stop_free(s);
    }
}

/* Two layers of three and of two experts beside idle ones, and an MTP block as the last of them. */
static void who_computes_nothing_does_not_starve(void **state)
{
    (void)state;
    json_t *json = json_loads(TEXT({
        "layers": 2, "head": {"module": "lm", "mtp": "sequential"},
        "ffn": {"layers": [{"module": "moe", "experts": 3, "zero": 1}, {"module": "moe", "experts": 2, "copy": 1}]}
    }), 0, NULL);
    struct arena *arena = arena_new();
    struct problems problems = { 0 };
    struct model_conf model;
    config_load(&model_schema, json, "", arena, &model, &problems);
    if (problems.n) fail_msg("%s: %s", problems.problem[0].path, problems.problem[0].text);
    double tokens[12] = { 1, 0, 2, 0, 3, 0, 0, NAN, 0, 4, 5, NAN };
    stop_leave_idle(&model, tokens, 12);
    static const int left[12] = { 1, 1, 1, 0, 1, 1, 0, 0, 1, 1, 0, 0 };
    for (int i = 0; i < 12; i++) assert_int_equal(!isnan(tokens[i]), left[i]);
    problems_free(&problems);
    arena_free(arena);
    json_decref(json);
}

/* ---- runs ---- */

static char folder[64];
static int remove_one(const char *name, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(name);
}

static struct study *study_new(const char *train)
{
    struct corpus *corpus;
    struct study *s;
    struct err e;
    struct problems problems = { 0 };
    static const char *const model = TEXT({ "layers": 2, "d_model": 32, "seq": 32, "vocab": 256,
                                            "attention": {"module": "gqa", "heads": 2, "kv_heads": 1, "head_dim": 16},
        "ffn": {"module": "moe", "experts": 4, "d_ff": 24, "router": {"top_k": 2}} });
    json_t *given = json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:o, s:o, s:[{s:s, s:{}}]}",
                              "name", "s", "script_path", "", "script_text", "", "data", "synthetic", "replicates", 1,
                              "seed", 1, "base", json_loads(model, 0, NULL), "train", json_loads(train, 0, NULL),
                              "variants", "name", "base", "set");
    strcpy(folder, "/tmp/sluice-run-XXXXXX");
    assert_non_null(mkdtemp(folder));
    if (corpus_open(&corpus, "synthetic", &e)) fail_msg("%s", e.text);
    if (study_resolve(given, corpus_info(corpus), &s, &problems))
        fail_msg("%s: %s", problems.problem[0].path, problems.problem[0].text);
    corpus_close(corpus);
    json_decref(given);
    s->dir = folder;
    if (study_save(s, &e)) fail_msg("%s", e.text);
    return s;
}

static void study_end(struct study *s)
{
    study_free(s);
    nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static const struct train_options quiet = { .threads = 1, .watcher = -1 };

static pid_t begin(const struct study *s)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) _exit((int)train_point(s, 0, &quiet));
    return pid;
}

static int ended(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* Trains to a checkpoint behind step 10 and stops there. */
static void train_and_stop(const struct study *s)
{
    char *path = study_point_path(s, 0, "checkpoints/step-00000010");
    pid_t pid = begin(s);
    while (access(path, F_OK) != 0) usleep(1000);
    kill(pid, SIGTERM);
    assert_int_equal(ended(pid), OUTCOME_INTERRUPTED);
    free(path);
}

static struct past past_of(const struct study *s)
{
    struct past past;
    struct err e;
    if (train_past(s, 0, &past, &e)) fail_msg("%s", e.text);
    return past;
}

static int64_t damage_newest(const struct study *s)
{
    char *dir = study_point_path(s, 0, "checkpoints"), path[4096];
    struct session *session;
    struct checkpoint c;
    struct err e;
    json_t *trainer_state;
    if (session_new(&session, s->variant[0].config, 1, &e)) fail_msg("%s", e.text);
    assert_int_equal(checkpoint_newest(dir, INT64_MAX, path, sizeof path, &e), 1);
    if (checkpoint_load(path, session->leaves, session->state, &c, &trainer_state, &e)) fail_msg("%s", e.text);
    const struct leaf *weight = leaves_find(session->leaves, "layers.1.attention.out.weight");
    assert_non_null(weight);
    ((real *)state_data(session->state, weight))[7] = NAN;
    if (checkpoint_save(dir, c.step, session->leaves, session->state, trainer_state, 0, NULL, &c, &e))
        fail_msg("%s", e.text);
    json_decref(trainer_state);
    session_free(session);
    free(dir);
    return c.step;
}

/* Whatever lets a value go bad, memory or mathematics: the step at which it happens is the last. */
static void a_bad_value_ends_the_run_at_once(void **state)
{
    (void)state;
    struct study *s = study_new(TEXT({ "steps": 100000, "batch": 4, "eval_every": 100000, "checkpoint_every": 10 }));
    train_and_stop(s);
    int64_t step = damage_newest(s);
    assert_int_equal(past_of(s).last, step);
    assert_int_equal(ended(begin(s)), OUTCOME_DIVERGED);
    struct past past = past_of(s);
    assert_int_equal(past.status, STATUS_DIVERGED);
    assert_int_equal(past.last, step + 1);
    assert_int_equal(ended(begin(s)), OUTCOME_DIVERGED);    /* it stays a result */
    assert_int_equal(past_of(s).last, step + 1);
    study_end(s);
}

/* ---- several processes ---- */

/* Who has a run is told apart from what goes wrong, by its lock alone. */
static void a_run_in_other_hands_is_left_to_them(void **state)
{
    (void)state;
    struct study *s = study_new(TEXT({ "steps": 4, "batch": 1, "eval_tokens": 32 }));
    char *path = study_point_path(s, 0, "run.lock");
    assert_false(process_is_locked(path));
    int lock = process_lock(path);
    assert_true(lock >= 0);
    assert_true(process_is_locked(path));
    assert_int_equal(ended(begin(s)), OUTCOME_ELSEWHERE);
    assert_false(past_of(s).exists);
    close(lock);
    assert_false(process_is_locked(path));
    assert_int_equal(ended(begin(s)), OUTCOME_FINISHED);
    free(path);
    study_end(s);
}

/* Any number of processes join a folder; it is free when the last has let go. */
static void a_folder_is_joined_by_many(void **state)
{
    (void)state;
    struct study *s = study_new(TEXT({ "steps": 4, "batch": 1, "eval_tokens": 32 }));
    assert_false(process_is_joined(s->dir));
    int one = process_join(s->dir), two = process_join(s->dir);
    assert_true(one >= 0 && two >= 0);
    assert_false(process_is_locked(s->dir));
    close(one);
    assert_true(process_is_joined(s->dir));
    close(two);
    assert_false(process_is_joined(s->dir));
    study_end(s);
}

/* ---- memory of a whole run ---- */

enum { SAMPLES = 1 << 16 };
struct watch { atomic_int n; double at[SAMPLES]; size_t heap[SAMPLES]; };

static void *watch_heap(void *to)
{
    for (struct watch *w = to; w->n < SAMPLES; usleep(1000)) {
        w->at[w->n] = clock_seconds();
        w->heap[w->n] = heap();
        w->n++;
    }
    return NULL;
}

/* The most that was in use between two shares of the run. */
static size_t most_between(const struct watch *w, double from, double to)
{
    size_t most = 0;
    double first = w->at[0], last = w->at[w->n - 1];
    for (int i = 0; i < w->n; i++)
        if (w->at[i] >= first + from * (last - first) && w->at[i] <= first + to * (last - first) && w->heap[i] > most)
            most = w->heap[i];
    return most;
}

/* What grows is the list of committed steps and the index of chunks in the file: some bytes a step. */
static void the_heap_does_not_grow(void **state)
{
    (void)state;
    enum { STEPS = 3000, BYTES_A_STEP = 48, SLACK = 32 << 10 };
    if (heap() == 0) skip();                                /* a sanitizer's heap cannot be asked */
    struct study *s = study_new(TEXT({ "steps": 3000, "batch": 1, "eval_every": 3000, "checkpoint_every": 3000,
                                       "eval_tokens": 32 }));
    struct watch *w = mmap(NULL, sizeof *w, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(w, MAP_FAILED);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, watch_heap, w)) _exit(99);
        _exit((int)train_point(s, 0, &quiet));
    }
    assert_int_equal(ended(pid), OUTCOME_FINISHED);
    assert_int_equal(past_of(s).last, STEPS);
    size_t early = most_between(w, 0.2, 0.4), late = most_between(w, 0.7, 0.9);
    print_message("heap after a third of %d steps %zu KiB, at the end %zu KiB (%d samples)\n", STEPS, early >> 10,
                  late >> 10, (int)w->n);
    assert_true(w->n > 50);
    assert_true(late < early + STEPS / 2 * BYTES_A_STEP + SLACK);
    munmap(w, sizeof *w);
    study_end(s);
}

/* In this process: what a run took it gives back, but for what HDF5 and the allocator keep from the first ones. */
static void nothing_is_left_of_a_run(void **state)
{
    (void)state;
    enum { FIRST = 8, ALL = 16, BYTES_A_RUN = 2 << 10 };
    size_t before = 0;
    for (int i = 1; i <= ALL; i++) {
        struct study *s = study_new(TEXT({ "steps": 30, "batch": 2, "micro": 2, "eval_every": 10,
                                           "checkpoint_every": 10 }));
        assert_int_equal(train_point(s, 0, &quiet), OUTCOME_FINISHED);
        assert_int_equal(train_point(s, 0, &quiet), OUTCOME_FINISHED);      /* nothing is left to do */
        study_end(s);
        if (i == FIRST) before = heap();
    }
    print_message("heap after %d runs %zu KiB, after %d %zu KiB\n", FIRST, before >> 10, ALL, heap() >> 10);
    assert_true(heap() <= before + (ALL - FIRST) * BYTES_A_RUN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_what_was_planned), cmocka_unit_test(values_that_are_no_numbers_stop_a_run),
        cmocka_unit_test(a_loss_that_stays_high_stops_a_run), cmocka_unit_test(starving_experts_stop_a_run),
        cmocka_unit_test(who_computes_nothing_does_not_starve),
        cmocka_unit_test(steps_without_a_target_stop_a_run), cmocka_unit_test(a_bad_value_ends_the_run_at_once),
        cmocka_unit_test(a_run_in_other_hands_is_left_to_them), cmocka_unit_test(a_folder_is_joined_by_many),
        cmocka_unit_test(the_heap_does_not_grow), cmocka_unit_test(nothing_is_left_of_a_run),
    };
    return cmocka_run_group_tests_name("run", tests, NULL, NULL);
}
