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

/* Experts of 70 tokens of 4 each, some of which are none, all of a token different; their numbers. */
static inline int32_t some_experts(int64_t i) { return (int32_t)((7 * (i / 4) + 5 * (i % 4)) % 13 - 1); }
static inline int32_t some_numbers(int64_t i) { return (int32_t)(i * 11 % 260); }
/* Loads, some of them alike; 60 choices of 6 experts in turn, and each expert's two places. */
static inline int32_t some_loads(int64_t i) { return (int32_t)(i * i * 7 % 31); }
static inline int32_t choices_in_turn(int64_t i) { return (int32_t)(i % 6); }
static inline int32_t tens(int64_t i) { return (int32_t)(10 * i); }
static inline int32_t rows_in_turn(int64_t i) { return i % 17 == 3 ? -1 : (int32_t)(i % 6 * 10 + i / 6); }
static inline int32_t two_places(int64_t i) { return (int32_t)(i < 7 ? 2 * i : 5 * (i - 7) % 12); }
/* Copies of experts of which each rank has three. */
static inline int32_t some_copies(int64_t i) { return (int32_t)((5 * i + 4) % along_ep(FEW)); }
/* Of documents that begin with their sequences. */
static inline int32_t begins(int64_t i) { (void)i; return 0; }
#define SEQUENCES(x, batch, seq, over) gather_sequences(g, x, count_in(g, SHAPE(batch, seq), begins), over)

#define RANK_CASES(CASE) \
    CASE(choose_nodes, some, choose_nodes(g, count_in(g, SHAPE(70, 4), some_experts), \
                                          (struct choose_nodes_attr){ 12, 3, 3 })) \
    CASE(choose_nodes, narrow, choose_nodes(g, count_in(g, SHAPE(70, 4), some_experts), \
                                            (struct choose_nodes_attr){ 12, 12, 4 })) \
    CASE(read_index, some, read_index(g, real_count_in(g, SHAPE(70, 5), some_numbers))) \
    CASE(place_copies, nodes, place_copies(g, real_count_in(g, SHAPE(50), some_loads), \
                                           (struct place_copies_attr){ 48, 2, 4, 3 })) \
    CASE(place_copies, one, place_copies(g, real_count_in(g, SHAPE(4), some_loads), \
                                         (struct place_copies_attr){ 4, 1, 2, 2 })) \
    CASE(spread, some, spread(g, count_in(g, SHAPE(20, 3), choices_in_turn), count_in(g, SHAPE(7), tens), \
                              count_in(g, SHAPE(20, 3), rows_in_turn), count_in(g, SHAPE(19), two_places), OVER_EP)) \
    CASE(with_copies, odd, with_copies(g, act_in(g, FEW, 5, 7), count_in(g, SHAPE(along_ep(2)), some_copies), 2, \
                                       OVER_EP)) \
    CASE(with_copies, large, with_copies(g, real_in(g, FEW, 40, 70), count_in(g, SHAPE(along_ep(1)), some_copies), 1, \
                                         OVER_EP)) \
    CASE(rows_away, few, rows_away(g, count_in(g, SHAPE(along_ep(FEW) + 1), few_offsets), OVER_EP)) \
    CASE(all_gather, small, all_gather(g, act_in(g, 3, 5), OVER_EP)) \
    CASE(all_gather, large, all_gather(g, real_in(g, 70, 4, 40), OVER_ALL)) \
    CASE(regather, odd, regather(g, act_in(g, 37, 133), OVER_EP)) \
    CASE(all_columns, odd, all_columns(g, act_in(g, 37, 13), OVER_EP)) \
    CASE(all_columns, large, all_columns(g, real_in(g, 70, 160), OVER_ALL)) \
    CASE(own_part, rows, own_part(g, real_in(g, along_ep(9), 37), OVER_EP, 0)) \
    CASE(own_part, columns, own_part(g, real_in(g, 70, along_ep(33)), OVER_EP, 1)) \
    CASE(own_part, bias, own_part(g, real_in(g, along_ep(150)), OVER_EP, 0)) \
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
