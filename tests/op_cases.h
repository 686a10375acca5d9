/* All cases of the op bench; see op_check.h. */
#ifndef SLUICE_OP_CASES_H
#define SLUICE_OP_CASES_H

#include "op_check.h"
#include "op_cases_basic.h"
#include "op_cases_products.h"
#include "op_cases_ranks.h"
#include "op_cases_recurrent.h"
#include "op_cases_routing.h"
#include "op_cases_sparse.h"
#include "op_cases_waves.h"

#define CASES(CASE) BASIC_CASES(CASE) PRODUCT_CASES(CASE) RECURRENT_CASES(CASE) ROUTING_CASES(CASE) \
    SPARSE_CASES(CASE)
#define LARGE_CASES(CASE) \
    BASIC_LARGE_CASES(CASE) PRODUCT_LARGE_CASES(CASE) RECURRENT_LARGE_CASES(CASE) ROUTING_LARGE_CASES(CASE) \
    SPARSE_LARGE_CASES(CASE)

CASES(BENCH_BUILD)
LARGE_CASES(BENCH_BUILD)
WAVE_CASES(BENCH_BUILD)
RANK_CASES(BENCH_BUILD)

/* What ranks tell each other: test_mesh, and op_cases_ranks.h on GPUs. */
static inline bool is_of_ranks(int op)
{
#define NUMBER(name, signature) OP_##name,
    static const int of_ranks[] = { RANK_OPS(NUMBER) };
    bool is = false;
    for (int i = 0; i < COUNT(of_ranks); i++) is |= of_ranks[i] == op;
    return is;
}

#endif
