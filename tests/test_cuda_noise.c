/* Noise on the GPU: the bits of the CPU, and in steps that are replayed from a recording that of their own
   sequences. */
#include "noisy_session.h"
#include "op_cases.h"
#include "cuda_devices.h"

static const struct op_case cases[] = { CASES(BENCH_CASE) LARGE_CASES(BENCH_CASE) };

static void the_bits_of_the_cpu(void **state)
{
    (void)state;
    int tried = 0;
    for (int i = 0; i < COUNT(cases); i++) {
        struct bench on_cpu, on_gpu;
        if (cases[i].op != OP_noise) continue;
        bench_on.backend = &backend_cpu, bench_on.device = host;
        bench_open(&on_cpu, &cases[i], false, 1);
        bench_on.backend = cuda, bench_on.device = gpu;
        bench_open(&on_gpu, &cases[i], false, 1);
        bench_forward(&on_cpu);
        bench_forward(&on_gpu);
        same(&on_cpu.out[0], &on_gpu.out[0]);
        bench_close(&on_gpu);
        bench_on.backend = &backend_cpu, bench_on.device = host;
        bench_close(&on_cpu);
        tried++;
    }
    assert_true(tried >= 6);
}

/* The first step runs as it is given, the second is recorded, later ones are replays. */
static void recorded_steps_have_noise_of_their_own(void **state)
{
    (void)state;
    static const char *const keys[][2] = {
        { TEXT({"micro": 1}), TEXT({"micro": 1, "backend": "cuda"}) },
        { TEXT({"micro": 2}), TEXT({"micro": 2, "backend": "cuda", "recompute": "selective"}) },
    };
    for (int k = 0; k < COUNT(keys); k++) {
        struct session *on_cpu = noisy_open(keys[k][0], 1), *on_gpu = noisy_open(keys[k][1], 1);
        for (int step = 0; step < 5; step++) {
            noisy_step(on_cpu, 1, step);
            noisy_step(on_gpu, 1, step);
            double want = noisy_loss(on_cpu), got = noisy_loss(on_gpu);
            if (!(fabs(want - got) < 1e-4)) fail_msg("step %d: the loss is %.9g, on the CPU %.9g", step, got, want);
        }
        session_free(on_cpu);
        session_free(on_gpu);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(the_bits_of_the_cpu),
                                        cmocka_unit_test(recorded_steps_have_noise_of_their_own) };
    return cmocka_run_group_tests_name("cuda_noise", tests, open_devices, close_devices);
}
