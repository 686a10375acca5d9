/* Cases of the op bench for ranks of a mesh whose axis ep has several: test_cuda_ops runs them where mpirun launched
   it; see op_check.h. What goes to whom is a function of who sends, who receives, and the expert. */
#include "graph/signature.h"

/* From a rank of the world to one along ep, for expert e of the latter. */
static inline int32_t rank_rows(int source, int to, int64_t e) { return (int32_t)((5 * source + 3 * to + 7 * e) % 6); }

/* [2 W,E/W] as exchange_counts gives them. */
static inline int32_t rank_counts(int64_t i, int64_t mine)
{
    const struct place *here = &comm_here()->place;
    int64_t ranks = place_group(here, OVER_EP), r = i / mine, e = i % mine;
    return r < ranks ? rank_rows(here->rank, (int)r, e)
                     : rank_rows(place_member(here, OVER_EP, (int)(r - ranks)), place_index(here, OVER_EP), e);
}
static inline int32_t rank_offset(int64_t i, int64_t mine)
{
    int32_t rows = 0;
    for (int64_t e = 0; e < i; e++) rows += rank_counts(e, mine);
    return rows;
}

/* A few experts, more than a block has threads, and one. */
enum { FEW = 3, MANY = 150 };
static inline int32_t few_counts(int64_t i) { return rank_counts(i, FEW); }
static inline int32_t many_counts(int64_t i) { return rank_counts(i, MANY); }
static inline int32_t one_count(int64_t i) { return rank_counts(i, 1); }
static inline int32_t few_offsets(int64_t i) { return rank_offset(i, FEW); }
static inline int32_t many_offsets(int64_t i) { return rank_offset(i, MANY); }
static inline int32_t one_offset(int64_t i) { return rank_offset(i, 1); }

static inline int64_t along_ep(int64_t each) { return each * place_group(&comm_here()->place, OVER_EP); }

/* y has so many rows for each rank, at least as many as x; most of both have some more than come and go. */
static inline struct node *rank_moved(struct graph *g, int op, struct node *x, int64_t rows, struct node *counts)
{
    struct exchange_counts_attr at = { OVER_EP, along_ep(1), op == OP_to_experts ? along_ep(rows) : rows };
    return graph_emit(g, op_all[op], &at, x, counts);
}
#define TO_EXPERTS(in, width, experts, name, room) \
    rank_moved(g, OP_to_experts, in(g, along_ep(5 * experts), width), room, \
               count_in(g, SHAPE(along_ep(2), experts), name))
#define FROM_EXPERTS(in, width, experts, name, room) \
    rank_moved(g, OP_from_experts, in(g, along_ep(room), width), along_ep(5 * experts), \
               count_in(g, SHAPE(along_ep(2), experts), name))
#define COUNTS(experts, name, room) \
    exchange_counts(g, count_in(g, SHAPE(along_ep(experts) + 1), name), along_ep(room), OVER_EP)

/* Of documents that begin with their sequences. */
static inline int32_t begins(int64_t i) { (void)i; return 0; }
#define SEQUENCES(x, batch, seq, over) gather_sequences(g, x, count_in(g, SHAPE(batch, seq), begins), over)

#define RANK_CASES(CASE) \
    CASE(all_gather, small, all_gather(g, act_in(g, 3, 5), OVER_EP)) \
    CASE(all_gather, large, all_gather(g, real_in(g, 70, 4, 40), OVER_ALL)) \
    CASE(regather, odd, regather(g, act_in(g, 37, 133), OVER_EP)) \
    CASE(all_reduce, small, all_reduce(g, real_in(g, 1), OVER_EP)) \
    CASE(all_reduce, odd, all_reduce(g, act_in(g, 37, 133), OVER_EP)) \
    CASE(all_reduce, large, all_reduce(g, act_in(g, 70, 4, 40), OVER_ALL)) \
    CASE(reduce_gradient, odd, reduce_gradient(g, act_in(g, 37, 133), OVER_EP)) \
    CASE(reduce_gradient, large, reduce_gradient(g, act_in(g, 70, 160), OVER_ALL)) \
    CASE(gather_sequences, small, SEQUENCES(real_in(g, 6, 5), 3, 2, OVER_EP)) \
    CASE(gather_sequences, odd, SEQUENCES(act_in(g, 35, 3, 13), 5, 7, OVER_EP)) \
    CASE(gather_sequences, large, SEQUENCES(act_in(g, 68, 160), 2, 34, OVER_ALL)) \
    CASE(exchange_counts, one, COUNTS(1, one_offset, 5)) \
    CASE(exchange_counts, few, COUNTS(FEW, few_offsets, 15)) \
    CASE(exchange_counts, many, COUNTS(MANY, many_offsets, 5 * MANY)) \
    CASE(to_experts, one, TO_EXPERTS(act_in, 16, 1, one_count, 5)) \
    CASE(to_experts, few, TO_EXPERTS(act_in, 5, FEW, few_counts, 16)) \
    CASE(to_experts, numbers, TO_EXPERTS(real_in, 1, FEW, few_counts, 15)) \
    CASE(to_experts, wide, TO_EXPERTS(act_in, 264, FEW, few_counts, 16)) \
    CASE(to_experts, many, TO_EXPERTS(act_in, 8, MANY, many_counts, 5 * MANY)) \
    CASE(from_experts, one, FROM_EXPERTS(act_in, 16, 1, one_count, 5)) \
    CASE(from_experts, few, FROM_EXPERTS(act_in, 5, FEW, few_counts, 16)) \
    CASE(from_experts, numbers, FROM_EXPERTS(real_in, 1, FEW, few_counts, 15)) \
    CASE(from_experts, wide, FROM_EXPERTS(act_in, 264, FEW, few_counts, 16)) \
    CASE(from_experts, many, FROM_EXPERTS(act_in, 8, MANY, many_counts, 5 * MANY))
