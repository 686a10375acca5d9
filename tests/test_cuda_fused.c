/* Calls that one kernel computes leave the bits of calls that run one after the other: sum and norm, norm and rotary
   position, activation and gates of experts, and the updates of all weights and their averages. */
#include "fused.h"

static const struct fused_pair pairs[] = { { OP_add, OP_rmsnorm, 2 }, { OP_rmsnorm, OP_rope, 2 },
                                           { OP_swiglu, OP_mul_heads, 2 }, { OP_adamw, OP_adamw, 10 },
                                           { OP_average, OP_average, 10 } };

static void kernels_fuse(void **state)
{
    (void)state;
    fusing_changes_nothing("cuda", pairs, COUNT(pairs), NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(kernels_fuse) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
