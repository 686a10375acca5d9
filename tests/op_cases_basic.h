/* Cases of the op bench: element by element, rows, tables and tokens, reductions. See op_check.h. */
#define TWO(a, b) 2, (struct node *[]){ a, b }

/* Tokens of a small vocabulary; documents of 5 tokens in sequences of any length. */
static inline int32_t large_token(int64_t i) { return (int32_t)(i * i * 31 % 17); }
static inline int32_t large_same(int64_t i) { return i == 900 ? 2 : 7; }
static inline int32_t large_gram(int64_t i) { return (int32_t)(i * i * 31 % 4999); }
static inline int32_t large_even(int64_t i) { return (int32_t)(2 * i); }
static inline int32_t large_start(int64_t i) { return (int32_t)(i % 50 / 5 * 5); }
static inline int32_t some_present(int64_t i) { return i % 3 != 1; }
static inline int32_t none_present(int64_t i) { (void)i; return 0; }

/* Every op of the elementwise table. */
#define UNARY_CALL(name, ...) name(g, act_in(g, __VA_ARGS__))
#define POSITIVE_CALL(name, ...) name(g, positive_in(g, __VA_ARGS__))
#define STEEP_CALL POSITIVE_CALL
#define BINARY_CALL(name, ...) name(g, act_in(g, __VA_ARGS__), act_in(g, __VA_ARGS__))
#define BY_CALL(name, ...) name(g, act_in(g, __VA_ARGS__), 0.8)
#define RANGE_CALL(name, ...) name(g, act_in(g, __VA_ARGS__), -0.4, 0.5)
#define GLU_CALL(name, ...) name(g, act_in(g, __VA_ARGS__), act_in(g, __VA_ARGS__), 0.8, 1.3)
#define ELEMENTWISE_CASE(CASE, kind, name, ...) CASE(name, odd_table, kind##_CALL(name, 3, 7))
#define ELEMENTWISE_LARGE_CASE(CASE, kind, name, ...) CASE(name, large_table, kind##_CALL(name, 700, 33))

#define BASIC_CASES(CASE) \
    ELEMENTWISE(ELEMENTWISE_CASE, CASE) \
    CASE(add, rank_3, add(g, act_in(g, 2, 3, 5), act_in(g, 2, 3, 5))) \
    CASE(add, one_row, add(g, real_in(g, 1, 7), act_in(g, 1, 7))) \
    CASE(mul, rank_1, mul(g, act_in(g, 9), real_in(g, 9))) \
    CASE(mul, rank_4, mul(g, real_in(g, 2, 1, 3, 2), real_in(g, 2, 1, 3, 2))) \
    CASE(swiglu, rank_3, swiglu(g, real_in(g, 1, 3, 1), act_in(g, 1, 3, 1))) \
    CASE(add_row, odd, add_row(g, act_in(g, 3, 7), real_in(g, 7))) \
    CASE(add_row, one_row, add_row(g, real_in(g, 1, 5), act_in(g, 5))) \
    CASE(add_row, rank_3, add_row(g, act_in(g, 2, 3, 2), real_in(g, 2))) \
    CASE(mul_heads, odd, mul_heads(g, act_in(g, 3, 2, 9), real_in(g, 3, 2))) \
    CASE(mul_heads, one_head, mul_heads(g, act_in(g, 1, 1, 5), act_in(g, 1, 1))) \
    CASE(mul_row, odd, mul_row(g, act_in(g, 3, 7), real_in(g, 7))) \
    CASE(mul_row, one_row, mul_row(g, real_in(g, 1, 5), act_in(g, 5))) \
    CASE(mul_row, rank_3, mul_row(g, act_in(g, 2, 3, 2), real_in(g, 2))) \
    CASE(mul_scalar, odd, mul_scalar(g, act_in(g, 3, 7), real_in(g, 1))) \
    CASE(mul_scalar, one, mul_scalar(g, real_in(g, 1), real_in(g, 1, 1))) \
    CASE(mix_streams, square, mix_streams(g, act_in(g, 3, 4, 5), real_in(g, 3, 4, 4))) \
    CASE(mix_streams, read, mix_streams(g, act_in(g, 3, 3, 5), act_in(g, 3, 1, 3))) \
    CASE(mix_streams, spread, mix_streams(g, real_in(g, 3, 1, 5), real_in(g, 3, 4, 1))) \
    CASE(mix_streams, shared, mix_streams(g, act_in(g, 4, 3, 2), real_in(g, 2, 3))) \
    CASE(mix_streams, most, mix_streams(g, real_in(g, 1, 16, 1), act_in(g, 1, 16, 16))) \
    CASE(sinkhorn, once, sinkhorn(g, real_in(g, 2, 3, 3), 1, 1e-2)) \
    CASE(sinkhorn, often, sinkhorn(g, real_in(g, 3, 2, 2), 20, 1e-6)) \
    CASE(sinkhorn, most, sinkhorn(g, real_in(g, 1, 8, 8), 5, 1e-3)) \
    CASE(sinkhorn, one, sinkhorn(g, real_in(g, 17, 1, 1), 3, 1e-2)) \
    CASE(rmsnorm, no_gain, rmsnorm(g, act_in(g, 3, 7), NULL, 1e-2, false)) \
    CASE(l2norm, odd, l2norm(g, act_in(g, 3, 7), 1e-2)) \
    CASE(l2norm, heads, l2norm(g, real_in(g, 2, 3, 8), 0)) \
    CASE(l2norm, one_row, l2norm(g, act_in(g, 17), 1e-6)) \
    CASE(center, odd, center(g, act_in(g, 3, 7))) \
    CASE(center, heads, center(g, real_in(g, 2, 3, 8))) \
    CASE(center, one, center(g, act_in(g, 5, 1))) \
    CASE(rmsnorm, plain, rmsnorm(g, act_in(g, 3, 7), real_in(g, 7), 1e-2, false)) \
    CASE(rmsnorm, zero_centred, rmsnorm(g, act_in(g, 3, 9), real_in(g, 9), 1e-2, true)) \
    CASE(rmsnorm, heads, rmsnorm(g, real_in(g, 2, 3, 8), real_in(g, 8), 0, false)) \
    CASE(rmsnorm, five_rows, rmsnorm(g, act_in(g, 5, 3), real_in(g, 3), 1e-2, false)) \
    CASE(rmsnorm, one_row, rmsnorm(g, act_in(g, 17), real_in(g, 17), 1e-2, true)) \
    CASE(softmax, odd, softmax(g, act_in(g, 3, 7))) \
    CASE(softmax, rank_3, softmax(g, real_in(g, 2, 1, 9))) \
    CASE(softmax, wide, softmax(g, real_in(g, 2, 70))) \
    CASE(softmax, one, softmax(g, real_in(g, 2, 1))) \
    CASE(logsumexp, odd, logsumexp(g, act_in(g, 3, 7))) \
    CASE(logsumexp, wide, logsumexp(g, act_in(g, 2, 70))) \
    CASE(logsumexp, one_row, logsumexp(g, real_in(g, 1, 9))) \
    CASE(normalize, odd, normalize(g, positive_in(g, 3, 5), 1e-3)) \
    CASE(normalize, one_row, normalize(g, positive_in(g, 1, 9), 0)) \
    CASE(cumsum, odd, cumsum(g, real_in(g, 3, 5))) \
    CASE(cumsum, rank_3, cumsum(g, real_in(g, 2, 1, 33))) \
    CASE(cumsum, one, cumsum(g, real_in(g, 4, 1))) \
    CASE(row_entropy, odd, row_entropy(g, positive_in(g, 3, 7))) \
    CASE(row_rms, odd, row_rms(g, act_in(g, 3, 7))) \
    CASE(row_rms, one, row_rms(g, real_in(g, 2, 1))) \
    CASE(rope, whole, rope(g, act_in(g, 4, 2, 6), int_in(g, SHAPE(1, 4), 0, 0, 2, 2), NULL, ROPE(6, FIRST, 100))) \
    CASE(rope, first, rope(g, act_in(g, 6, 1, 7), int_in(g, SHAPE(2, 3), 0, 0, 0, 0, 1, 1), NULL, \
                           ROPE(4, FIRST, 100))) \
    CASE(rope, last, rope(g, act_in(g, 6, 2, 8), int_in(g, SHAPE(2, 3), 0, 0, 2, 0, 1, 1), NULL, ROPE(4, LAST, 100))) \
    CASE(rope, proportional, rope(g, real_in(g, 3, 2, 8), int_in(g, SHAPE(1, 3), 0, 0, 0), NULL, \
                                  ROPE(4, PROPORTIONAL, 100))) \
    CASE(rope, none, rope(g, act_in(g, 2, 2, 3), int_in(g, SHAPE(1, 2), 0, 0), NULL, ROPE(0, LAST, 100))) \
    CASE(rope, decode, rope(g, act_in(g, 4, 1, 4), int_in(g, SHAPE(2, 2), 3, 3, 0, 9), int_in(g, SHAPE(1), 8), \
                            ROPE(4, LAST, 100))) \
    CASE(rope, neighbours, rope(g, act_in(g, 6, 2, 9), int_in(g, SHAPE(2, 3), 0, 0, 2, 0, 1, 1), NULL, \
                                ROPE(6, LAST, 100, .interleaved = 1))) \
    CASE(rope, stretched, rope(g, act_in(g, 6, 1, 12), int_in(g, SHAPE(2, 3), 0, 0, 2, 0, 0, 0), NULL, \
                               STRETCHED(12, FIRST, 100, 4, 1, 4.5, 1.25))) \
    CASE(rope, linear, rope(g, act_in(g, 3, 1, 6), int_in(g, SHAPE(1, 3), 0, 0, 0), NULL, \
                            STRETCHED(6, FIRST, 100, 4, 0, 0, 1, .interleaved = 1))) \
    CASE(positions, parts, positions(g, int_in(g, SHAPE(2, 3), 0, 0, 2, 0, 1, 1), NULL, 2, false)) \
    CASE(sum_by_position, documents, \
         sum_by_position(g, real_in(g, 12), int_in(g, SHAPE(2, 6), 0, 0, 2, 2, 2, 2, 0, 0, 0, 6, 6, 6), 3, 2)) \
    CASE(positions, whole, positions(g, int_in(g, SHAPE(2, 2), 3, 3, 0, 9), int_in(g, SHAPE(1), 8), 4, true)) \
    CASE(take, some, take(g, int_in(g, SHAPE(2, 3), 5, 6, 7, 8, 9, 1), int_in(g, SHAPE(2, 2), 0, 2, 5, -1))) \
    CASE(taken_starts, documents, taken_starts(g, int_in(g, SHAPE(2, 6), 0, 0, 2, 2, 2, 2, 0, 0, 0, 3, 3, 3), \
                                     int_in(g, SHAPE(2, 3), 1, 3, 5, 6, 9, 11))) \
    CASE(taken_starts, nobody, taken_starts(g, int_in(g, SHAPE(1, 4), 0, 1, 1, 3), int_in(g, SHAPE(1, 3), 2, 3, -1))) \
    CASE(reject, all, reject(g, act_in(g, 3, 4, 5), act_in(g, 3, 2, 5), NULL)) \
    CASE(reject, part, reject(g, act_in(g, 3, 2, 7), real_in(g, 3, 1, 7), real_in(g, 3, 2))) \
    CASE(reject, own, reject(g, real_in(g, 2, 3, 2), act_in(g, 2, 3, 2), real_in(g, 2, 3))) \
    CASE(concat, three, concat(g, 3, (struct node *[]){ act_in(g, 3, 2), real_in(g, 3, 5), act_in(g, 3, 1) })) \
    CASE(concat, rank_3, concat(g, TWO(act_in(g, 2, 1, 3), act_in(g, 2, 1, 4)))) \
    CASE(concat, one, concat(g, 1, (struct node *[]){ act_in(g, 1, 3) })) \
    CASE(columns, first, columns(g, act_in(g, 3, 7), 0, 2)) \
    CASE(columns, last, columns(g, act_in(g, 2, 3, 5), 2, 3)) \
    CASE(columns, all, columns(g, real_in(g, 4), 0, 4)) \
    CASE(repeat, thrice, repeat(g, act_in(g, 3, 5), 3)) \
    CASE(repeat, once, repeat(g, real_in(g, 2, 3, 2), 1)) \
    CASE(repeat, vector, repeat(g, act_in(g, 3), 2)) \
    CASE(embed, repeated, embed(g, real_in(g, 5, 7), int_in(g, SHAPE(2, 3), 4, 0, 4, 2, 4, 0))) \
    CASE(embed, one, embed(g, real_in(g, 1, 3), int_in(g, SHAPE(1, 1), 0))) \
    CASE(embed, two_bytes, embed(g, real_in(g, 300, 1), int_in(g, SHAPE(1, 5), 299, 43, 299, 43, 0))) \
    CASE(ngram, mul32, ngram(g, int_in(g, SHAPE(2, 2), 1, 2, 3, 4), int_in(g, SHAPE(2, 2), 0, 0, 0, 1), NULL, \
                             GRAM(2, 5, 7, HASH_MUL32))) \
    CASE(ngram, mod, ngram(g, int_in(g, SHAPE(1, 3), 1, 2, 3), int_in(g, SHAPE(1, 3), 0, 0, 0), NULL, \
                           GRAM(3, 5, 7, HASH_MOD))) \
    CASE(ngram, xor, ngram(g, int_in(g, SHAPE(1, 5), 5, 9, 2, 9, 5), int_in(g, SHAPE(1, 5), 0, 0, 0, 3, 3), NULL, \
                           GRAM(3, 10, 107, HASH_XOR, .pad = 2, .by0 = 11, .by1 = 7, .by2 = 13))) \
    CASE(collision_rate, few, collision_rate(g, int_in(g, SHAPE(1, 3), 1, 2, 1), int_in(g, SHAPE(1, 3), 0, 0, 0), \
                                             int_in(g, SHAPE(1, 3), 0, 1, 0), 2)) \
    CASE(shift, back, shift(g, int_in(g, SHAPE(2, 3), 1, 2, 3, 4, 5, 6), 1)) \
    CASE(shift, forth, shift(g, real_in(g, 2, 3), -2)) \
    CASE(cache, heads, cache(g, act_in(g, 2, 4, 1, 3), act_in(g, 4, 1, 3), int_in(g, SHAPE(2, 2), 0, 0, 0, 0), \
                             int_in(g, SHAPE(1), 1))) \
    CASE(ring, around, ring(g, act_in(g, 2, 3, 1, 3), act_in(g, 4, 1, 3), int_in(g, SHAPE(2, 2), 0, 0, 0, 0), \
                            int_in(g, SHAPE(1), 5))) \
    CASE(mean_rows, odd, mean_rows(g, act_in(g, 3, 7))) \
    CASE(mean_rows, vector, mean_rows(g, real_in(g, 7))) \
    CASE(mean_rows, rank_3, mean_rows(g, real_in(g, 2, 3, 2))) \
    CASE(weighted_sum, odd, weighted_sum(g, real_in(g, 6), positive_in(g, 2, 3))) \
    CASE(weighted_sum, plain, weighted_sum(g, real_in(g, 2, 3), NULL)) \
    CASE(divide, odd, divide(g, real_in(g, 2, 3), positive_in(g, 2, 3))) \
    CASE(slice, rows, slice(g, act_in(g, 2, 4, 3), 3)) \
    CASE(slice, numbers, slice(g, real_in(g, 3, 5), 1)) \
    CASE(slice, ids, slice(g, int_in(g, SHAPE(2, 3), 1, 2, 3, 4, 5, 6), 2)) \
    CASE(mask_rows, rows, mask_rows(g, act_in(g, 6, 5), real_count_in(g, SHAPE(6), some_present), 0)) \
    CASE(mask_rows, heads, mask_rows(g, real_in(g, 6, 2, 3), real_count_in(g, SHAPE(2, 3), some_present), -7)) \
    CASE(mask_rows, ids, mask_rows(g, int_in(g, SHAPE(3, 2), 1, 2, 3, 4, 5, 6), \
                                   real_count_in(g, SHAPE(3), some_present), -1)) \
    CASE(mask_rows, none, mask_rows(g, act_in(g, 3, 4), real_count_in(g, SHAPE(3), none_present), 0.5)) \
    CASE(dot, odd, dot(g, act_in(g, 3, 7), real_in(g, 3, 7))) \
    CASE(dot, one, dot(g, real_in(g, 1), real_in(g, 1))) \
    CASE(max_all, odd, max_all(g, act_in(g, 3, 7))) \
    CASE(rms, odd, rms(g, act_in(g, 3, 7))) \
    CASE(spectral, tall, spectral(g, real_in(g, 5, 3), 3)) \
    CASE(spectral, stack, spectral(g, real_in(g, 2, 3, 5), 2)) \
    CASE(spectral, row, spectral(g, real_in(g, 1, 4), 1)) \
    CASE(outside, odd, outside(g, act_in(g, 3, 7), -0.5, 0.5)) \
    CASE(carry, sum, carry(g, act_in(g, 3, 7), CARRY_SUM))

#define BASIC_LARGE_CASES(CASE) \
    ELEMENTWISE(ELEMENTWISE_LARGE_CASE, CASE) \
    CASE(add_row, large, add_row(g, act_in(g, 700, 33), real_in(g, 33))) \
    CASE(mul_heads, large, mul_heads(g, act_in(g, 700, 3, 11), real_in(g, 700, 3))) \
    CASE(mul_row, large, mul_row(g, act_in(g, 700, 33), real_in(g, 33))) \
    CASE(mul_row, even, mul_row(g, act_in(g, 700, 72), real_in(g, 72))) \
    CASE(mul_row, wide, mul_row(g, act_in(g, 70, 9001), real_in(g, 9001))) \
    CASE(mul_scalar, large, mul_scalar(g, act_in(g, 700, 33), real_in(g, 1))) \
    CASE(mix_streams, large, mix_streams(g, act_in(g, 170, 4, 1030), real_in(g, 170, 4, 4))) \
    CASE(mix_streams, large_read, mix_streams(g, act_in(g, 700, 4, 33), act_in(g, 700, 1, 4))) \
    CASE(mix_streams, large_spread, mix_streams(g, act_in(g, 700, 1, 40), real_in(g, 700, 3, 1))) \
    CASE(mix_streams, large_shared, mix_streams(g, act_in(g, 1300, 3, 33), real_in(g, 5, 3))) \
    CASE(sinkhorn, large, sinkhorn(g, real_in(g, 1301, 4, 4), 20, 1e-6)) \
    CASE(sinkhorn, large_most, sinkhorn(g, real_in(g, 70, 8, 8), 128, 1e-6)) \
    CASE(rmsnorm, large_no_gain, rmsnorm(g, act_in(g, 700, 133), NULL, 1e-5, false)) \
    CASE(center, large, center(g, act_in(g, 700, 133))) \
    CASE(center, wide, center(g, act_in(g, 70, 9001))) \
    CASE(l2norm, large, l2norm(g, act_in(g, 700, 133), 1e-6)) \
    CASE(l2norm, wide, l2norm(g, act_in(g, 70, 9001), 1e-6)) \
    CASE(columns, large, columns(g, act_in(g, 700, 72), 8, 40)) \
    CASE(columns, large_odd, columns(g, act_in(g, 700, 33), 5, 19)) \
    CASE(columns, indices, columns(g, count_in(g, SHAPE(14, 50), large_start), 3, 19)) \
    CASE(repeat, large, repeat(g, act_in(g, 700, 33), 4)) \
    CASE(repeat, wide, repeat(g, act_in(g, 9, 9001), 3)) \
    CASE(rmsnorm, large, rmsnorm(g, act_in(g, 700, 133), real_in(g, 133), 1e-5, false)) \
    CASE(rmsnorm, wide, rmsnorm(g, act_in(g, 70, 9001), real_in(g, 9001), 1e-5, true)) \
    CASE(softmax, large, softmax(g, act_in(g, 700, 33))) \
    CASE(logsumexp, large, logsumexp(g, act_in(g, 700, 33))) \
    CASE(normalize, large, normalize(g, positive_in(g, 700, 33), 1e-6)) \
    CASE(cumsum, large, cumsum(g, real_in(g, 700, 37))) \
    CASE(cumsum, long_rows, cumsum(g, real_in(g, 5, 1001))) \
    CASE(row_entropy, wide, row_entropy(g, positive_in(g, 50, 133))) \
    CASE(row_rms, wide, row_rms(g, act_in(g, 50, 133))) \
    CASE(row_rms, long_rows, row_rms(g, real_in(g, 5, 9001))) \
    CASE(row_entropy, large, row_entropy(g, positive_in(g, 700, 33))) \
    CASE(rope, large, rope(g, act_in(g, 700, 3, 16), count_in(g, SHAPE(14, 50), large_start), NULL, \
                           ROPE(8, LAST, 1e4))) \
    CASE(rope, long, rope(g, act_in(g, 300, 2, 8), count_in(g, SHAPE(2, 150), large_start), NULL, \
                          ROPE(8, FIRST, 1e4))) \
    CASE(sum_by_position, large, \
         sum_by_position(g, real_in(g, 700), count_in(g, SHAPE(14, 50), large_start), 5, 7)) \
    CASE(take, large, take(g, count_in(g, SHAPE(14, 50), large_start), count_in(g, SHAPE(14, 25), large_even))) \
    CASE(taken_starts, large, taken_starts(g, count_in(g, SHAPE(14, 50), large_start), \
                                           count_in(g, SHAPE(14, 25), large_even))) \
    CASE(positions, large, positions(g, count_in(g, SHAPE(14, 50), large_start), NULL, 7, false)) \
    CASE(reject, large, reject(g, act_in(g, 700, 6, 16), act_in(g, 700, 2, 16), real_in(g, 700, 6))) \
    CASE(reject, odd, reject(g, act_in(g, 300, 3, 37), act_in(g, 300, 3, 37), NULL)) \
    CASE(concat, large, concat(g, TWO(act_in(g, 700, 33), act_in(g, 700, 8)))) \
    CASE(embed, large, embed(g, real_in(g, 300, 33), count_in(g, SHAPE(7, 100), large_token))) \
    CASE(embed, wide, embed(g, real_in(g, 20, 5000), count_in(g, SHAPE(2, 50), large_token))) \
    CASE(ngram, large, ngram(g, count_in(g, SHAPE(60, 50), large_token), count_in(g, SHAPE(60, 50), large_start), \
                             NULL, GRAM(3, 17, 1009, HASH_MUL32))) \
    CASE(collision_rate, large, collision_rate(g, count_in(g, SHAPE(60, 50), large_token), \
                                               count_in(g, SHAPE(60, 50), large_start), \
                                               count_in(g, SHAPE(60, 50), large_token), 2)) \
    CASE(mean_rows, large, mean_rows(g, act_in(g, 7000, 13))) \
    CASE(mean_rows, long_vector, mean_rows(g, act_in(g, 600001))) \
    CASE(weighted_sum, large, weighted_sum(g, real_in(g, 9000), positive_in(g, 90, 100))) \
    CASE(weighted_sum, plain_large, weighted_sum(g, real_in(g, 9000), NULL)) \
    CASE(divide, large, divide(g, real_in(g, 5000), positive_in(g, 5000))) \
    CASE(slice, large, slice(g, act_in(g, 5, 67, 33), 64)) \
    CASE(mask_rows, large, mask_rows(g, act_in(g, 335, 72), real_count_in(g, SHAPE(5, 67), some_present), 0.5)) \
    CASE(mask_rows, positions, mask_rows(g, count_in(g, SHAPE(7, 100), large_token), \
                                         real_count_in(g, SHAPE(700), some_present), 100)) \
    CASE(dot, large, dot(g, act_in(g, 700, 33), act_in(g, 700, 33))) \
    CASE(max_all, large, max_all(g, act_in(g, 700, 33))) \
    CASE(rms, large, rms(g, act_in(g, 700, 33))) \
    CASE(spectral, large, spectral(g, real_in(g, 3, 270, 301), 4)) \
    CASE(outside, large, outside(g, act_in(g, 700, 33), -1, 1)) \
    CASE(carry, large, carry(g, count_in(g, SHAPE(700, 13), large_token), CARRY_SUM)) \
    CASE(add_row, even, add_row(g, act_in(g, 700, 72), real_in(g, 72))) \
    CASE(mul_heads, even, mul_heads(g, act_in(g, 70, 5, 64), act_in(g, 70, 5))) \
    CASE(rmsnorm, even, rmsnorm(g, act_in(g, 700, 64), real_in(g, 64), 1e-5, false)) \
    CASE(rmsnorm, middling, rmsnorm(g, act_in(g, 37, 1000), real_in(g, 1000), 1e-5, true)) \
    CASE(rmsnorm, even_wide, rmsnorm(g, act_in(g, 9, 16400), real_in(g, 16400), 1e-5, false)) \
    CASE(softmax, even, softmax(g, act_in(g, 700, 64))) \
    CASE(softmax, middling, softmax(g, act_in(g, 37, 515))) \
    CASE(softmax, long_rows, softmax(g, act_in(g, 5, 9001))) \
    CASE(logsumexp, middling, logsumexp(g, act_in(g, 37, 1000))) \
    CASE(logsumexp, long_rows, logsumexp(g, act_in(g, 5, 9001))) \
    CASE(normalize, even, normalize(g, positive_in(g, 300, 8), 1e-6)) \
    CASE(normalize, long_rows, normalize(g, positive_in(g, 5, 9001), 1e-6)) \
    CASE(row_entropy, long_rows, row_entropy(g, positive_in(g, 5, 9001))) \
    CASE(rope, even_first, rope(g, act_in(g, 60, 5, 64), count_in(g, SHAPE(1, 60), large_start), NULL, \
                                ROPE(64, FIRST, 1e6))) \
    CASE(rope, even_last, rope(g, act_in(g, 60, 2, 64), count_in(g, SHAPE(1, 60), large_start), NULL, \
                               ROPE(32, LAST, 1e4))) \
    CASE(rope, even_proportional, rope(g, act_in(g, 60, 9, 64), count_in(g, SHAPE(1, 60), large_start), NULL, \
                                       ROPE(32, PROPORTIONAL, 1e4))) \
    CASE(rope, far, rope(g, real_in(g, 60, 1, 128), count_in(g, SHAPE(1, 60), large_start), \
                         int_in(g, SHAPE(1), 1000000), ROPE(128, FIRST, 1e4))) \
    CASE(rope, even_neighbours, rope(g, act_in(g, 60, 5, 64), count_in(g, SHAPE(1, 60), large_start), NULL, \
                                     ROPE(32, LAST, 1e4, .interleaved = 1))) \
    CASE(rope, even_stretched, rope(g, act_in(g, 60, 5, 64), count_in(g, SHAPE(1, 60), large_start), \
                                    int_in(g, SHAPE(1), 100000), \
                                    STRETCHED(64, FIRST, 1e4, 40, 10, 23, 1.37))) \
    CASE(rope, odd_stretched, rope(g, act_in(g, 60, 5, 22), count_in(g, SHAPE(1, 60), large_start), \
                                   int_in(g, SHAPE(1), 100000), \
                                   STRETCHED(22, FIRST, 1e4, 8, 2.5, 6.25, 1, .interleaved = 1))) \
    CASE(rope, far_linear, rope(g, real_in(g, 60, 1, 128), count_in(g, SHAPE(1, 60), large_start), \
                                int_in(g, SHAPE(1), 1000000), STRETCHED(128, FIRST, 1e4, 8, 0, 0, 1))) \
    CASE(reject, even, reject(g, act_in(g, 70, 8, 128), act_in(g, 70, 2, 128), real_in(g, 70, 8))) \
    CASE(reject, wide, reject(g, act_in(g, 7, 4, 1003), act_in(g, 7, 2, 1003), real_in(g, 7, 4))) \
    CASE(concat, even, concat(g, 3, (struct node *[]){ act_in(g, 70, 16), real_in(g, 70, 24), act_in(g, 70, 1000) })) \
    CASE(cache, widened, cache(g, real_in(g, 3, 40, 2, 8), act_in(g, 90, 2, 8), \
                               count_in(g, SHAPE(3, 30), large_start), int_in(g, SHAPE(1), 9))) \
    CASE(ring, widened, ring(g, real_in(g, 3, 40, 2, 8), act_in(g, 90, 2, 8), \
                             count_in(g, SHAPE(3, 30), large_start), int_in(g, SHAPE(1), 59))) \
    CASE(shift, large, shift(g, count_in(g, SHAPE(14, 50), large_token), -7)) \
    CASE(mean_rows, even, mean_rows(g, act_in(g, 7000, 136))) \
    CASE(mean_rows, wide, mean_rows(g, act_in(g, 11, 9001))) \
    CASE(max_all, long_vector, max_all(g, act_in(g, 600001))) \
    CASE(rms, long_vector, rms(g, act_in(g, 600001))) \
    CASE(embed, same, embed(g, real_in(g, 9, 8), count_in(g, SHAPE(3, 700), large_same))) \
    CASE(embed, tall, embed(g, real_in(g, 5000, 3), count_in(g, SHAPE(9, 100), large_gram))) \
    CASE(ngram, residues, ngram(g, count_in(g, SHAPE(9, 100), large_gram), count_in(g, SHAPE(9, 100), large_start), \
                                NULL, GRAM(4, 2147483647, 2147483629, HASH_MOD))) \
    CASE(ngram, long_products, ngram(g, count_in(g, SHAPE(9, 100), large_gram), \
                                     count_in(g, SHAPE(9, 100), large_start), NULL, \
                                     GRAM(4, 2147483647, 2147483629, HASH_XOR, .pad = 3, .by0 = 4294967297, \
                                          .by1 = 4294967293, .by2 = 3000000001, .by3 = 12345679))) \
    CASE(ngram, decode, ngram(g, count_in(g, SHAPE(9, 100), large_gram), count_in(g, SHAPE(9, 40), large_start), \
                              int_in(g, SHAPE(1), 60), GRAM(3, 5000, 1009, HASH_MUL32))) \
    CASE(collision_rate, distinct, collision_rate(g, count_in(g, SHAPE(9, 100), large_gram), \
                                                  count_in(g, SHAPE(9, 100), large_start), \
                                                  count_in(g, SHAPE(9, 100), large_token), 3))
