/* Cases of the op bench: element by element, rows, tables and tokens, reductions. See op_check.h. */
#define BASIC_CASES(CASE) \
    CASE(add, rank_3, add(g, act_in(g, 2, 3, 5), act_in(g, 2, 3, 5))) \
    CASE(add, one_row, add(g, real_in(g, 1, 7), act_in(g, 1, 7)))

#define BASIC_LARGE_CASES(CASE) \
    CASE(add, large, add(g, act_in(g, 700, 33), act_in(g, 700, 33)))
