/* Cases of the op bench that a GPU of 132 multiprocessors works at in several waves of blocks, chunks or parts of a
   sum: some for each file of kernels. Sizes are odd, so that the last wave, chunk and part are not full. test_cuda_ops
   runs them; see op_check.h. */
static inline int32_t wave_token(int64_t i) { return (int32_t)(i * i % 5003); }
static inline int32_t wave_index(int64_t i) { return (int32_t)i; }
static inline int32_t wave_start(int64_t i) { return (int32_t)(i % 1801 / 700 * 700); }
static inline int32_t wave_choice(int64_t i) { return (int32_t)(i * i / 3 % 61); }
static inline int32_t wave_expert(int64_t e)
{
    static const int32_t at[] = { 0, 1201, 1201, 1330, 5000, 7999 };
    return at[e];
}

/* 68044 rows, 17011 tokens of 4 choices. 48603 * 7 = 1 modulo 68044: the two are inverse. */
static inline int32_t wave_inverse(int64_t i) { return (int32_t)((7 * i + 3) % 68044); }
static inline int32_t wave_order(int64_t r) { return (int32_t)(48603 * (r + 68041) % 68044); }

#define WAVE_CASES(CASE) \
    CASE(sigmoid, waves, sigmoid(g, act_in(g, 5003, 1001))) \
    CASE(swiglu, waves, swiglu(g, act_in(g, 5003, 901), act_in(g, 5003, 901))) \
    CASE(add_row, waves, add_row(g, act_in(g, 33331, 131), real_in(g, 131))) \
    CASE(mul_heads, waves, mul_heads(g, act_in(g, 20011, 5, 48), real_in(g, 20011, 5))) \
    CASE(rmsnorm, waves, rmsnorm(g, act_in(g, 20011, 133), real_in(g, 133), 1e-5, false)) \
    CASE(mul_row, waves, mul_row(g, act_in(g, 20011, 133), real_in(g, 133))) \
    CASE(mul_scalar, waves, mul_scalar(g, act_in(g, 5000011), real_in(g, 1))) \
    CASE(mix_streams, waves, mix_streams(g, act_in(g, 10007, 4, 133), real_in(g, 10007, 4, 4))) \
    CASE(mix_streams, waves_shared, mix_streams(g, act_in(g, 20011, 3, 133), real_in(g, 2, 3))) \
    CASE(sinkhorn, waves, sinkhorn(g, real_in(g, 50021, 4, 4), 20, 1e-6)) \
    CASE(center, waves, center(g, act_in(g, 20011, 133))) \
    CASE(l2norm, waves, l2norm(g, act_in(g, 20011, 133), 1e-6)) \
    CASE(reject, waves, reject(g, act_in(g, 10007, 4, 40), act_in(g, 10007, 2, 40), real_in(g, 10007, 4))) \
    CASE(sum_by_position, waves, \
         sum_by_position(g, real_in(g, 401 * 1801), count_in(g, SHAPE(401, 1801), wave_start), 3, 700)) \
    CASE(take, waves, take(g, count_in(g, SHAPE(401, 1801), wave_token), count_in(g, SHAPE(401, 1801), wave_index))) \
    CASE(taken_starts, waves, taken_starts(g, count_in(g, SHAPE(401, 1801), wave_start), \
                                 count_in(g, SHAPE(401, 1801), wave_index))) \
    CASE(positions, waves, positions(g, count_in(g, SHAPE(401, 1801), wave_start), NULL, 7, false)) \
    CASE(columns, waves, columns(g, act_in(g, 20011, 133), 11, 101)) \
    CASE(repeat, waves, repeat(g, act_in(g, 20011, 133), 3)) \
    CASE(softmax, waves, softmax(g, act_in(g, 20011, 133))) \
    CASE(rope, waves, rope(g, act_in(g, 19811, 11, 24), count_in(g, SHAPE(11, 1801), wave_start), NULL, \
                           ROPE(16, LAST, 1e4))) \
    CASE(concat, waves, concat(g, TWO(act_in(g, 100003, 33), act_in(g, 100003, 8)))) \
    CASE(shift, waves, shift(g, count_in(g, SHAPE(401, 1801), wave_token), -7)) \
    CASE(embed, waves, embed(g, real_in(g, 5003, 265), count_in(g, SHAPE(11, 1801), wave_token))) \
    CASE(embed, one_run, embed(g, real_in(g, 9, 33), count_in(g, SHAPE(11, 1801), large_same))) \
    CASE(dispatch, waves, dispatch(g, count_in(g, SHAPE(200003, 3), wave_choice), 61, 0)) \
    CASE(topk_columns, waves, topk_columns(g, real_in(g, 20010, 61), 10, 251)) \
    CASE(transport, waves, transport(g, real_in(g, 6003, 61), TRANSPORT(3, 5, 0, 2001 / 61.0))) \
    CASE(assign, waves, assign(g, real_in(g, 6003, 61), ASSIGN(3, 60))) \
    CASE(hash_ids, waves, hash_ids(g, count_in(g, SHAPE(401, 1801), wave_token), 61, 3, 5)) \
    CASE(drop_zero, waves, drop_zero(g, count_in(g, SHAPE(200003, 3), wave_choice), \
                                     real_count_in(g, SHAPE(200003, 3), often_zero))) \
    CASE(drop_over_capacity, waves, drop_over_capacity(g, count_in(g, SHAPE(20010, 3), wave_choice), \
                                                       real_in(g, 20010, 3), NULL, 61, 10, 90, PRIORITY_GATE)) \
    CASE(gather, waves, gather(g, act_in(g, 17011, 33), count_in(g, SHAPE(68044), wave_order), \
                               count_in(g, SHAPE(17011, 4), wave_inverse))) \
    CASE(combine, waves, combine(g, act_in(g, 68044, 33), count_in(g, SHAPE(68044), wave_order), \
                                 count_in(g, SHAPE(17011, 4), wave_inverse), \
                                 real_in(g, 17011, 4))) \
    CASE(unpermute, waves, unpermute(g, act_in(g, 68044, 33), count_in(g, SHAPE(68044), wave_order), \
                                   count_in(g, SHAPE(17011, 4), wave_inverse))) \
    CASE(topk, waves, topk(g, real_in(g, 20011, 37), 5)) \
    CASE(scatter, waves, scatter(g, real_in(g, 20011, 3), count_in(g, SHAPE(20011, 3), wave_choice), 61)) \
    CASE(pick, waves, pick(g, real_in(g, 20011, 61), count_in(g, SHAPE(20011, 3), wave_choice))) \
    CASE(ngram, waves, ngram(g, count_in(g, SHAPE(401, 1801), wave_token), count_in(g, SHAPE(401, 1801), wave_start), \
                             NULL, GRAM(3, 5003, 10007, HASH_MUL32))) \
    CASE(collision_rate, waves, collision_rate(g, count_in(g, SHAPE(401, 1801), wave_token), \
                                               count_in(g, SHAPE(401, 1801), wave_start), \
                                               count_in(g, SHAPE(401, 1801), wave_token), 2)) \
    CASE(mean_rows, waves, mean_rows(g, act_in(g, 100003, 37))) \
    CASE(dot, waves, dot(g, act_in(g, 5000011), real_in(g, 5000011))) \
    CASE(max_all, waves, max_all(g, act_in(g, 5000011))) \
    CASE(carry, waves, carry(g, count_in(g, SHAPE(401, 1801), wave_token), CARRY_SUM)) \
    CASE(global_norm, waves, global_norm(g, 3, (struct node *[]){ real_in(g, 1501, 1703), real_in(g, 5), \
                                                                  real_in(g, 3, 901, 1001) })) \
    CASE(adamw, waves, ADAMW(5003, 1003)) \
    CASE(muon, waves, MUON(11, 2501, 91)) \
    CASE(clip_heads, waves, CLIP_HEADS(11, 33, 4103, 1003)) \
    CASE(average, waves, AVERAGE_OF(positive_in(g, 1), 5003, 1003)) \
    CASE(matmul, waves, matmul(g, act_in(g, 67, 1003), real_in(g, 5003, 1003), DTYPE_ACT)) \
    CASE(head_matmul, waves, head_matmul(g, act_in(g, 1003, 5, 131), real_in(g, 5, 131, 259), true)) \
    CASE(grouped_matmul, waves, \
         grouped_matmul(g, act_in(g, 8003, 43), real_in(g, 5, 1029, 43), count_in(g, SHAPE(6), wave_expert))) \
    CASE(cross_entropy, waves, \
         cross_entropy(g, act_in(g, 4507, 24), real_in(g, 301, 24), count_in(g, SHAPE(1, 4507), wide_target), 0)) \
    CASE(attention, waves, ATTEND(QKV(19811, 4, 2, 32), .start = count_in(g, SHAPE(11, 1801), wave_start), \
         .scale = 0.18, .window = 129)) \
    CASE(attention, longest, ATTEND(QKV(2011, 2, 1, 32), .start = count_in(g, SHAPE(1, 2011), none), .scale = 0.18))
