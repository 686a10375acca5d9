/* Runs as a whole, in processes of their own: memory against the plan, rules that stop, values that go bad. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <ftw.h>
#include <malloc.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "checkpoint.h"
#include "stop.h"
#include "train.h"

#define TEXT(...) #__VA_ARGS__

/* About 2 M parameters. */
static const char *const micro = TEXT({
    "model": { "layers": 4, "d_model": 128, "seq": 128, "vocab": 256, "attention": {"module": "gqa", "heads": 4, "kv_heads": 2, "head_dim": 32},
        "ffn": {"module": "moe", "experts": 8, "d_ff": 128, "router": {"top_k": 2}} },
    "train": { "steps": 10, "batch": 8, "optim": {"module": "adamw", "lr": 0.001} }
});

/* ---- memory ---- */

static size_t mapped;
static void *counting_alloc(size_t bytes)
{
    mapped += bytes;
    return backend_cpu.alloc(bytes);
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
    assert_int_equal(plan_new(&plan, s->graph, PRECISION_FP32, &e), 0);
    assert_int_equal(plan_new(&eval, s->eval_graph, PRECISION_FP32, &e), 0);
    struct state *memory = state_new(s->leaves, &counting, 1);
    plan_bind(plan, memory);
    plan_bind(eval, memory);
    print_message("%.2f MiB planned, %.2f mapped, %.2f of heap\n", planned / (1 << 20), (double)mapped / (1 << 20), used / (1 << 20));
    assert_int_equal(mapped, session_bytes(s));
    assert_true(used < 0.05 * planned);
    plan_free(plan);
    plan_free(eval);
    state_free(memory);
    session_free(s);
    json_decref(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(memory_is_what_was_planned) };
    return cmocka_run_group_tests_name("run", tests, NULL, NULL);
}
