/* What a plan does for a backend that fuses: it offers neighbours, calls the first of them alone, and keeps what the
   second writes from the time of the first on. The kernels here run two of the CPU's, one after the other. */
#include "fused.h"

/* The first pair that has nothing in common but an arrow between them, and updates, of which as many as there are. */
static const struct fused_pair pairs[] = { { OP_add, OP_rmsnorm, 2 }, { OP_adamw, OP_adamw, 10 },
                                           { OP_average, OP_average, 10 } };

static void in_turn(const struct args *a)
{
    backend_cpu.kernels(allowed->first)->forward(a);
    while ((a = a->next)) backend_cpu.kernels(allowed->second)->forward(a);
}

static kernel *both(int first, const struct args *a, int second, const struct args *b)
{
    (void)first, (void)a, (void)second, (void)b;
    return in_turn;
}

static void plans_fuse(void **state)
{
    (void)state;
    fusing_changes_nothing("cpu", pairs, COUNT(pairs), both);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(plans_fuse) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
