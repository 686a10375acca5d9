/* Cases of the op bench: products. See op_check.h. */
static inline int32_t uneven_offset(int64_t e)
{
    static const int32_t at[] = { 0, 41, 41, 300, 301, 640 };
    return at[e];
}
static inline int32_t long_start(int64_t i) { return (int32_t)(i % 300 < 130 ? 0 : i % 300 < 210 ? 130 : 210); }
static inline int32_t wide_target(int64_t i) { return (int32_t)(i * 37 % 301); }
static inline int32_t tile_edges(int64_t e) { static const int32_t at[] = { 0, 127, 255, 255, 384 }; return at[e]; }
static inline int32_t five_each(int64_t e) { return (int32_t)(e * 5); }
static inline int32_t two_experts(int64_t e) { return (int32_t)(e * 135 - e / 2); }
static inline int32_t two_tiles(int64_t e) { static const int32_t at[] = { 0, 130, 130, 263 }; return at[e]; }
/* Values of many sizes. */
static inline double of_sizes(int64_t i) { return ldexp((double)(i * 37 % 61 - 30), (int)(i * 13 % 17) - 12); }
static inline int32_t odd_word(int64_t i) { return (int32_t)(i % 3 % 2); }
static inline int32_t none(int64_t i) { (void)i; return 0; }
/* Whom nothing is shown */
static inline int32_t long_blind(int64_t i) { return (int32_t)(i % 300 < 130 ? 0 : i < 300 && i < 210 ? 130 : 300); }

#define TEN(...) int_in(g, SHAPE(2, 5), __VA_ARGS__)
#define ZEROS TEN(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
#define DOCUMENTS TEN(0, 0, 2, 2, 2, 0, 0, 0, 0, 4)

/* forward, gradient, scaling, powers of two */
#define BY_FP8(x, w, offsets, history, forward, gradient, scaling, power) \
    fp8_matmul(g, x, w, offsets, history, (struct fp8_attr){ FP8_##forward, FP8_##gradient, FP8_##scaling, power })

/* Bytes that keep so many values, of sizes about 3/4; where parts lie: base/nf4.h. */
static inline int32_t code_byte(int64_t i, struct nf4 p)
{
    static const uint8_t size[] = { 0, 0, 0x40, 0x3f }, scale[] = { 0, 0, 0, 0x3b };         /* 0.75, 2^-9 */
    if (i < p.mean || (p.twice && i >= p.sizes)) return (int32_t)(i * 37 % 251);
    return p.twice && i >= p.scales ? scale[i % 4] : size[i % 4];
}
#define CODES(name, kept, n) \
    static inline int32_t name(int64_t i) { return code_byte(i, nf4_places(KEPT_##kept, n)); }
CODES(codes_of_35, NF4, 35)
CODES(twice_of_21, NF4_DOUBLE, 21)
CODES(twice_of_45, NF4_DOUBLE, 45)
CODES(codes_of_many, NF4, 140 * 270)
CODES(twice_of_many, NF4_DOUBLE, 140 * 270)
CODES(codes_of_stack, NF4, 3 * 20 * 24)
CODES(twice_of_stack, NF4_DOUBLE, 3 * 130 * 130)
#define BY_NF4(x, offsets, value, kept, experts, n, k) \
    nf4_matmul(g, x, byte_in(g, SHAPE(nf4_places(KEPT_##kept, (experts ? experts : 1) * n * k).bytes), value), \
               offsets, (struct nf4_attr){ n, k, experts, KEPT_##kept })

/* What is rounded has no differences: those are of no format, the others stand among the large ones. */
#define PRODUCT_CASES(CASE) \
    CASE(fp8_matmul, of_no_format, BY_FP8(act_in(g, 3, 7), real_in(g, 5, 7), NULL, NULL, NONE, NONE, TILE, false)) \
    CASE(fp8_matmul, experts_of_no_format, BY_FP8(ragged_in(g, 7, 9, 3), real_in(g, 3, 5, 3), \
         int_in(g, SHAPE(4), 0, 3, 3, 7), NULL, NONE, NONE, TENSOR, false)) \
    CASE(fp8_matmul, past_of_no_format, BY_FP8(act_in(g, 3, 4), real_in(g, 5, 4), NULL, real_in(g, 2, 3), NONE, \
         NONE, DELAYED, true)) \
    CASE(nf4_matmul, odd, BY_NF4(act_in(g, 3, 7), NULL, codes_of_35, NF4, 0, 5, 7)) \
    CASE(nf4_matmul, twice, BY_NF4(act_in(g, 4, 7), NULL, twice_of_21, NF4_DOUBLE, 0, 3, 7)) \
    CASE(nf4_matmul, experts, BY_NF4(ragged_in(g, 7, 9, 3), int_in(g, SHAPE(4), 0, 3, 3, 7), twice_of_45, NF4_DOUBLE, \
         3, 5, 3)) \
    CASE(matmul, odd, matmul(g, act_in(g, 3, 7), real_in(g, 5, 7), DTYPE_ACT)) \
    CASE(matmul, scores, matmul(g, real_in(g, 17, 3), real_in(g, 9, 3), DTYPE_REAL)) \
    CASE(matmul, deep, matmul(g, act_in(g, 2, 260), real_in(g, 2, 260), DTYPE_ACT)) \
    CASE(matmul, one, matmul(g, act_in(g, 1, 1), act_in(g, 1, 1), DTYPE_ACT)) \
    CASE(grouped_add_row, empty_expert_and_rows_left, \
         grouped_add_row(g, act_in(g, 9, 5), real_in(g, 3, 5), int_in(g, SHAPE(4), 0, 3, 3, 7))) \
    CASE(grouped_add_row, all, grouped_add_row(g, act_in(g, 6, 3), real_in(g, 2, 3), int_in(g, SHAPE(3), 0, 2, 6))) \
    CASE(grouped_add_row, nobody, grouped_add_row(g, act_in(g, 3, 2), real_in(g, 2, 2), int_in(g, SHAPE(3), 0, 0, 0))) \
    CASE(grouped_matmul, empty_expert_and_rows_left, \
         grouped_matmul(g, act_in(g, 9, 3), real_in(g, 3, 5, 3), int_in(g, SHAPE(4), 0, 3, 3, 7))) \
    CASE(grouped_matmul, ragged, \
         grouped_matmul(g, ragged_in(g, 7, 9, 3), real_in(g, 3, 5, 3), int_in(g, SHAPE(4), 0, 3, 3, 7))) \
    CASE(grouped_matmul, unwritten, \
         grouped_matmul(g, ragged_in(g, 0, 3, 2), real_in(g, 2, 4, 2), int_in(g, SHAPE(3), 0, 0, 0))) \
    CASE(grouped_matmul, all_to_one, \
         grouped_matmul(g, act_in(g, 6, 2), real_in(g, 3, 4, 2), int_in(g, SHAPE(4), 0, 0, 6, 6))) \
    CASE(grouped_matmul, no_rows, \
         grouped_matmul(g, real_in(g, 3, 2), real_in(g, 2, 2, 2), int_in(g, SHAPE(3), 0, 0, 0))) \
    CASE(grouped_matmul, many_rows, \
         grouped_matmul(g, act_in(g, 270, 1), real_in(g, 2, 2, 1), count_in(g, SHAPE(3), two_experts))) \
    CASE(head_matmul, odd, head_matmul(g, act_in(g, 5, 3, 7), real_in(g, 3, 4, 7), false)) \
    CASE(head_matmul, transposed, head_matmul(g, act_in(g, 5, 3, 7), real_in(g, 3, 7, 4), true)) \
    CASE(head_matmul, a_token, head_matmul(g, real_in(g, 1, 2, 3), real_in(g, 2, 3, 5), true)) \
    CASE(head_matmul, one, head_matmul(g, act_in(g, 1, 1, 1), real_in(g, 1, 1, 1), false)) \
    CASE(attention, mha, ATTEND(QKV(10, 2, 2, 3), .start = ZEROS, .scale = 0.6)) \
    CASE(attention, gqa_window, ATTEND(QKV(10, 4, 2, 2), .start = ZEROS, .scale = 0.7, .window = 3)) \
    CASE(attention, mqa_documents, ATTEND(QKV(10, 3, 1, 2), .start = DOCUMENTS, .scale = 1.0)) \
    CASE(attention, window_of_one, ATTEND(QKV(10, 1, 1, 3), .start = ZEROS, .scale = 0.5, .window = 1)) \
    CASE(attention, wide_window, ATTEND(QKV(10, 1, 1, 3), .start = ZEROS, .scale = 0.5, .window = 9)) \
    CASE(attention, wider_values, ATTEND(.q = real_in(g, 10, 2, 2), .k = real_in(g, 10, 1, 2), \
         .v = real_in(g, 10, 1, 5), .start = ZEROS, .scale = 0.5)) \
    CASE(attention, blind, ATTEND(QKV(10, 4, 2, 3), .start = TEN(0, 0, 5, 3, 5, 5, 5, 5, 5, 5), .scale = 0.6, \
         .window = 3)) \
    CASE(attention, blind_cached, ATTEND(.q = act_in(g, 4, 2, 2), .k = act_in(g, 2, 7, 1, 2), \
         .v = act_in(g, 2, 7, 1, 2), .start = int_in(g, SHAPE(2, 2), 0, 7, 7, 7), .pos = int_in(g, SHAPE(1), 4), \
         .scale = 0.8)) \
    CASE(attention, cached, ATTEND(.q = act_in(g, 4, 2, 2), .k = act_in(g, 2, 7, 1, 2), .v = act_in(g, 2, 7, 1, 2), \
         .start = int_in(g, SHAPE(2, 2), 0, 0, 3, 3), .pos = int_in(g, SHAPE(1), 4), .scale = 0.8, .window = 5)) \
    CASE(attention, many_keys, ATTEND(.q = act_in(g, 2, 2, 2), .k = act_in(g, 1, 262, 1, 2), \
         .v = act_in(g, 1, 262, 1, 2), .start = int_in(g, SHAPE(1, 2), 0, 3), .pos = int_in(g, SHAPE(1), 258), \
         .scale = 0.8)) \
    CASE(attention, values_of_keys, ATTEND(.q = act_in(g, 10, 3, 5), .k = act_in(g, 10, 1, 5), .values = 3, \
         .start = DOCUMENTS, .scale = 0.6)) \
    CASE(attention, keys_are_values, ATTEND(.q = act_in(g, 10, 4, 3), .k = act_in(g, 10, 2, 3), .values = 3, \
         .start = ZEROS, .scale = 0.6, .window = 3, .sink = real_in(g, 4))) \
    CASE(attention, values_of_caches, ATTEND(.q = act_in(g, 4, 2, 5), .k = act_in(g, 2, 7, 1, 5), .values = 2, \
         .start = int_in(g, SHAPE(2, 2), 0, 0, 3, 3), .pos = int_in(g, SHAPE(1), 4), .scale = 0.8, .window = 5)) \
    CASE(attention, values_of_many_keys, ATTEND(.q = act_in(g, 2, 2, 4), .k = act_in(g, 1, 262, 2, 4), .values = 3, \
         .start = int_in(g, SHAPE(1, 2), 0, 3), .pos = int_in(g, SHAPE(1), 258), .scale = 0.8)) \
    CASE(attention, many_queries, ATTEND(QKV(70, 1, 1, 1), .start = count_in(g, SHAPE(1, 70), none), .scale = 0.9)) \
    CASE(attention, sink, ATTEND(QKV(10, 4, 2, 3), .start = ZEROS, .scale = 0.6, .sink = real_in(g, 4))) \
    CASE(attention, sink_of_tokens, ATTEND(QKV(10, 2, 1, 3), .start = DOCUMENTS, .scale = 0.6, \
         .sink = real_in(g, 10, 2))) \
    CASE(attention, sink_of_the_blind, ATTEND(QKV(10, 4, 2, 3), .start = TEN(0, 0, 5, 3, 5, 5, 5, 5, 5, 5), \
         .scale = 0.6, .sink = real_in(g, 4))) \
    CASE(attention, capped, ATTEND(QKV(10, 2, 1, 3), .start = DOCUMENTS, .scale = 0.6, .softcap = 0.7)) \
    CASE(attention, biased, ATTEND(QKV(10, 4, 2, 3), .start = DOCUMENTS, .scale = 0.6, .rel = real_in(g, 10, 4, 3))) \
    CASE(attention, biased_far, ATTEND(QKV(10, 2, 2, 3), .start = ZEROS, .scale = 0.6, .rel = act_in(g, 10, 2, 9))) \
    CASE(attention, biased_here, ATTEND(.q = real_in(g, 10, 2, 3), .k = real_in(g, 10, 2, 3), \
         .v = real_in(g, 10, 2, 3), .start = ZEROS, .scale = 0.6, .rel = act_in(g, 10, 2, 1))) \
    CASE(attention, chunks, ATTEND(QKV(10, 2, 1, 3), .start = DOCUMENTS, .scale = 0.6, .chunk = 2)) \
    CASE(attention, sink_and_cap, ATTEND(QKV(10, 2, 1, 3), .start = ZEROS, .scale = 0.6, .sink = real_in(g, 2), \
         .softcap = 1.5)) \
    CASE(attention, bias_and_cap, ATTEND(QKV(10, 2, 1, 3), .start = ZEROS, .scale = 0.6, .rel = act_in(g, 10, 2, 4), \
         .softcap = 1.5)) \
    CASE(attention, sink_and_bias, ATTEND(QKV(10, 2, 1, 3), .start = ZEROS, .scale = 0.6, .sink = real_in(g, 10, 2), \
         .rel = real_in(g, 10, 2, 4))) \
    CASE(attention, windows_of_chunks, ATTEND(QKV(10, 2, 1, 3), .start = ZEROS, .scale = 0.6, .window = 2, .chunk = 4, \
         .sink = real_in(g, 2))) \
    CASE(attention, everything, ATTEND(QKV(10, 4, 2, 3), .start = DOCUMENTS, .scale = 0.6, .window = 3, .chunk = 4, \
         .softcap = 1.5, .sink = real_in(g, 10, 4), .rel = act_in(g, 10, 4, 3))) \
    CASE(attention, everything_cached, ATTEND(.q = act_in(g, 4, 2, 2), .k = act_in(g, 2, 7, 1, 2), \
         .v = act_in(g, 2, 7, 1, 2), .start = int_in(g, SHAPE(2, 2), 0, 1, 3, 7), .pos = int_in(g, SHAPE(1), 4), \
         .scale = 0.8, .window = 5, .chunk = 4, .softcap = 1.5, .sink = real_in(g, 2), .rel = real_in(g, 4, 2, 3))) \
    CASE(attention, everything_of_many, ATTEND(.q = act_in(g, 2, 2, 2), .k = act_in(g, 1, 262, 1, 2), \
         .v = act_in(g, 1, 262, 1, 2), .start = int_in(g, SHAPE(1, 2), 0, 3), .pos = int_in(g, SHAPE(1), 258), \
         .scale = 0.8, .softcap = 1.5, .sink = real_in(g, 2, 2), .rel = act_in(g, 2, 2, 140))) \
    CASE(attention, everything_for_many, ATTEND(QKV(70, 1, 1, 1), .start = count_in(g, SHAPE(1, 70), none), \
         .scale = 0.9, .chunk = 40, .softcap = 1.5, .sink = real_in(g, 70, 1), .rel = act_in(g, 70, 1, 9))) \
    CASE(attention_entropy, plain, SPREAD(QKV(10, 4, 2, 3), .start = DOCUMENTS, .scale = 0.6)) \
    CASE(attention_entropy, bent, SPREAD(QKV(10, 2, 1, 3), .start = DOCUMENTS, .scale = 0.6, .softcap = 0.7, \
         .window = 4, .chunk = 3, .rel = act_in(g, 10, 2, 3))) \
    CASE(attention_entropy, cached, SPREAD(.q = act_in(g, 2, 2, 2), .k = act_in(g, 1, 262, 1, 2), \
         .start = int_in(g, SHAPE(1, 2), 0, 3), .pos = int_in(g, SHAPE(1), 258), .scale = 0.8)) \
    CASE(cross_entropy, capped, \
         cross_entropy(g, act_in(g, 5, 3), real_in(g, 7, 3), int_in(g, SHAPE(1, 5), 0, 6, 3, 3, 1), 0.8)) \
    CASE(cross_entropy, many_tokens, \
         cross_entropy(g, act_in(g, 260, 1), real_in(g, 3, 1), count_in(g, SHAPE(2, 130), odd_word), 0)) \
    CASE(cross_entropy, odd, \
         cross_entropy(g, act_in(g, 5, 3), real_in(g, 7, 3), int_in(g, SHAPE(1, 5), 0, 6, 3, 3, 1), 0)) \
    CASE(cross_entropy, one_word, cross_entropy(g, real_in(g, 2, 3), real_in(g, 1, 3), int_in(g, SHAPE(2, 1), 0, 0), 0))

#define PRODUCT_LARGE_CASES(CASE) \
    CASE(fp8_matmul, tiles, BY_FP8(act_of(g, of_sizes, 131, 270), real_in(g, 140, 270), NULL, NULL, E4M3, E4M3, \
         TILE, false)) \
    CASE(fp8_matmul, tiles_by_powers, BY_FP8(act_of(g, of_sizes, 150, 40), real_in(g, 130, 40), NULL, NULL, E4M3, \
         E5M2, TILE, true)) \
    CASE(fp8_matmul, tiles_of_experts, BY_FP8(ragged_in(g, 263, 270, 24), real_in(g, 3, 20, 24), \
         count_in(g, SHAPE(4), two_tiles), NULL, E4M3, E4M3, TILE, false)) \
    CASE(fp8_matmul, experts_by_powers, BY_FP8(ragged_in(g, 263, 270, 24), real_in(g, 3, 130, 24), \
         count_in(g, SHAPE(4), two_tiles), NULL, E5M2, E4M3, TILE, true)) \
    CASE(fp8_matmul, tensors, BY_FP8(act_in(g, 131, 70), real_in(g, 33, 70), NULL, NULL, E4M3, E5M2, TENSOR, false)) \
    CASE(fp8_matmul, tensors_of_experts, BY_FP8(ragged_in(g, 263, 270, 24), real_in(g, 3, 20, 24), \
         count_in(g, SHAPE(4), two_tiles), NULL, E4M3, E4M3, TENSOR, true)) \
    CASE(fp8_matmul, delayed, BY_FP8(act_in(g, 131, 70), real_in(g, 33, 70), NULL, positive_in(g, 5, 3), E4M3, \
         E5M2, DELAYED, false)) \
    CASE(fp8_matmul, forward_alone, BY_FP8(act_in(g, 40, 70), real_in(g, 33, 70), NULL, NULL, E4M3, NONE, \
         TILE, false)) \
    CASE(fp8_matmul, backward_alone, BY_FP8(act_in(g, 40, 70), real_in(g, 33, 70), NULL, NULL, NONE, E4M3, \
         TILE, false)) \
    CASE(nf4_matmul, blocks, BY_NF4(act_in(g, 300, 270), NULL, codes_of_many, NF4, 0, 140, 270)) \
    CASE(nf4_matmul, blocks_twice, BY_NF4(act_in(g, 131, 270), NULL, twice_of_many, NF4_DOUBLE, 0, 140, 270)) \
    CASE(nf4_matmul, large_experts, BY_NF4(ragged_in(g, 263, 270, 24), count_in(g, SHAPE(4), two_tiles), \
         codes_of_stack, NF4, 3, 20, 24)) \
    CASE(nf4_matmul, wide_experts, BY_NF4(ragged_in(g, 263, 270, 130), count_in(g, SHAPE(4), two_tiles), \
         twice_of_stack, NF4_DOUBLE, 3, 130, 130)) \
    CASE(matmul, blocks, matmul(g, act_in(g, 401, 300), real_in(g, 530, 300), DTYPE_ACT)) \
    CASE(matmul, deeper, matmul(g, act_in(g, 9, 1030), real_in(g, 35, 1030), DTYPE_REAL)) \
    CASE(matmul, rows, matmul(g, act_in(g, 1030, 40), real_in(g, 33, 40), DTYPE_ACT)) \
    CASE(matmul, rounded, matmul(g, real_in(g, 129, 20), real_in(g, 10, 20), DTYPE_ACT)) \
    CASE(matmul, of_activations, matmul(g, act_in(g, 33, 24), act_in(g, 17, 24), DTYPE_REAL)) \
    CASE(grouped_matmul, tile_edges, \
         grouped_matmul(g, act_in(g, 388, 72), real_in(g, 4, 136, 72), count_in(g, SHAPE(5), tile_edges))) \
    CASE(grouped_add_row, large, \
         grouped_add_row(g, act_in(g, 400, 267), real_in(g, 4, 267), int_in(g, SHAPE(5), 0, 0, 130, 133, 390))) \
    CASE(grouped_matmul, large_ragged, \
         grouped_matmul(g, ragged_in(g, 190, 400, 72), real_in(g, 3, 136, 72), int_in(g, SHAPE(4), 0, 0, 130, 190))) \
    CASE(grouped_matmul, odd_widths, \
         grouped_matmul(g, act_in(g, 200, 267), real_in(g, 3, 129, 267), int_in(g, SHAPE(4), 0, 0, 130, 190))) \
    CASE(grouped_matmul, even_widths, \
         grouped_matmul(g, act_in(g, 140, 260), real_in(g, 1, 130, 260), int_in(g, SHAPE(2), 0, 139))) \
    CASE(grouped_matmul, many_experts, \
         grouped_matmul(g, act_in(g, 201, 16), real_in(g, 40, 8, 16), count_in(g, SHAPE(41), five_each))) \
    CASE(grouped_matmul, experts_of_a_warp, \
         grouped_matmul(g, real_in(g, 161, 5), real_in(g, 32, 6, 5), count_in(g, SHAPE(33), five_each))) \
    CASE(grouped_matmul, uneven, \
         grouped_matmul(g, act_in(g, 700, 48), real_in(g, 5, 40, 48), count_in(g, SHAPE(6), uneven_offset))) \
    CASE(head_matmul, blocks, head_matmul(g, act_in(g, 300, 2, 130), real_in(g, 2, 70, 130), false)) \
    CASE(head_matmul, blocks_transposed, head_matmul(g, act_in(g, 300, 2, 130), real_in(g, 2, 130, 70), true)) \
    CASE(head_matmul, wide, head_matmul(g, act_in(g, 3, 4, 24), real_in(g, 4, 24, 528), true)) \
    CASE(attention, long, ATTEND(QKV(600, 4, 2, 24), .start = count_in(g, SHAPE(2, 300), none), .scale = 0.2)) \
    CASE(attention, long_documents, ATTEND(QKV(600, 2, 1, 16), .start = count_in(g, SHAPE(2, 300), long_start), \
         .scale = 0.25)) \
    CASE(attention, long_blind, ATTEND(QKV(600, 2, 1, 16), .start = count_in(g, SHAPE(2, 300), long_blind), \
         .scale = 0.25)) \
    CASE(attention, long_window, ATTEND(QKV(600, 2, 1, 16), \
         .start = count_in(g, SHAPE(2, 300), long_start), .scale = 0.25, .window = 70)) \
    CASE(attention, heads_of_32, ATTEND(QKV(130, 4, 2, 32), .start = count_in(g, SHAPE(2, 65), none), .scale = 0.18)) \
    CASE(attention, heads_of_64, ATTEND(QKV(217, 2, 1, 64), \
         .start = count_in(g, SHAPE(1, 217), long_start), .scale = 0.125, .window = 70)) \
    CASE(attention, heads_of_128, ATTEND(QKV(141, 3, 1, 128), .start = count_in(g, SHAPE(1, 141), long_start), \
         .scale = 0.09)) \
    CASE(attention, heads_of_256, ATTEND(QKV(33, 2, 1, 256), .start = count_in(g, SHAPE(1, 33), none), \
         .scale = 0.0625, .window = 20)) \
    CASE(attention, latent_heads, ATTEND(.q = act_in(g, 37, 2, 192), .k = act_in(g, 37, 2, 192), \
         .v = act_in(g, 37, 2, 128), .start = count_in(g, SHAPE(1, 37), none), .scale = 0.07)) \
    CASE(attention, odd_heads, ATTEND(.q = act_in(g, 99, 2, 48), .k = act_in(g, 99, 1, 48), .v = act_in(g, 99, 1, 5), \
         .start = count_in(g, SHAPE(3, 33), none), .scale = 0.14)) \
    CASE(attention, widest_heads, ATTEND(.q = act_in(g, 9, 2, 260), .k = act_in(g, 9, 1, 260), \
         .v = act_in(g, 9, 1, 130), .start = count_in(g, SHAPE(1, 9), none), .scale = 0.06)) \
    CASE(attention, decode, ATTEND(.q = act_in(g, 2, 6, 64), .k = act_in(g, 2, 150, 2, 64), \
         .v = act_in(g, 2, 150, 2, 64), .start = int_in(g, SHAPE(2, 1), 0, 90), .pos = int_in(g, SHAPE(1), 149), \
         .scale = 0.125)) \
    CASE(attention, latent_values, ATTEND(.q = act_in(g, 150, 6, 72), .k = act_in(g, 150, 2, 72), .values = 64, \
         .start = count_in(g, SHAPE(1, 150), long_start), .scale = 0.1, .window = 70)) \
    CASE(attention, latents_decoded, ATTEND(.q = act_in(g, 2, 20, 576), .k = act_in(g, 2, 150, 1, 576), \
         .values = 512, .start = int_in(g, SHAPE(2, 1), 0, 90), .pos = int_in(g, SHAPE(1), 149), .scale = 0.05)) \
    CASE(attention, everything_of_latents, ATTEND(.q = act_in(g, 4, 6, 41), .k = act_in(g, 2, 150, 2, 41), \
         .values = 33, .start = int_in(g, SHAPE(2, 2), 0, 0, 90, 147), .pos = int_in(g, SHAPE(1), 147), .scale = 0.1, \
         .chunk = 140, .softcap = 2, .sink = real_in(g, 6), .rel = act_in(g, 4, 6, 50))) \
    CASE(attention, long_sinks, ATTEND(QKV(600, 4, 2, 24), .start = count_in(g, SHAPE(2, 300), long_blind), \
         .scale = 0.2, .sink = real_in(g, 600, 4))) \
    CASE(attention, long_biases, ATTEND(QKV(600, 2, 1, 16), .start = count_in(g, SHAPE(2, 300), long_start), \
         .scale = 0.25, .rel = act_in(g, 600, 2, 137))) \
    CASE(attention, long_chunks, ATTEND(QKV(600, 2, 1, 16), .start = count_in(g, SHAPE(2, 300), long_start), \
         .scale = 0.25, .chunk = 70, .sink = real_in(g, 2))) \
    CASE(attention, everything_of_64, ATTEND(QKV(217, 2, 1, 64), .start = count_in(g, SHAPE(1, 217), long_start), \
         .scale = 0.125, .window = 70, .chunk = 100, .softcap = 2, .sink = real_in(g, 2), \
         .rel = act_in(g, 217, 2, 40))) \
    CASE(attention, everything_of_128, ATTEND(QKV(141, 3, 1, 128), .start = count_in(g, SHAPE(1, 141), long_start), \
         .scale = 0.09, .softcap = 2, .sink = real_in(g, 141, 3), .rel = real_in(g, 141, 3, 90))) \
    CASE(attention, everything_of_latent_heads, ATTEND(.q = act_in(g, 37, 2, 192), .k = act_in(g, 37, 2, 192), \
         .v = act_in(g, 37, 2, 128), .start = count_in(g, SHAPE(1, 37), none), .scale = 0.07, .chunk = 20, \
         .softcap = 2, .sink = real_in(g, 37, 2), .rel = act_in(g, 37, 2, 8))) \
    CASE(attention, everything_of_256, ATTEND(QKV(33, 2, 1, 256), .start = count_in(g, SHAPE(1, 33), none), \
         .scale = 0.0625, .window = 20, .softcap = 2, .sink = real_in(g, 2), .rel = act_in(g, 33, 2, 30))) \
    CASE(attention, everything_widest, ATTEND(.q = act_in(g, 9, 2, 260), .k = act_in(g, 9, 1, 260), \
         .v = act_in(g, 9, 1, 130), .start = count_in(g, SHAPE(1, 9), none), .scale = 0.06, .chunk = 5, .softcap = 2, \
         .sink = real_in(g, 2), .rel = act_in(g, 9, 2, 4))) \
    CASE(attention, everything_decoded, ATTEND(.q = act_in(g, 2, 6, 64), .k = act_in(g, 2, 150, 2, 64), \
         .v = act_in(g, 2, 150, 2, 64), .start = int_in(g, SHAPE(2, 1), 0, 90), .pos = int_in(g, SHAPE(1), 149), \
         .scale = 0.125, .chunk = 140, .softcap = 2, .sink = real_in(g, 6), .rel = act_in(g, 2, 6, 50))) \
    CASE(attention_entropy, long, SPREAD(.q = act_in(g, 2, 6, 64), .k = act_in(g, 2, 350, 2, 64), \
         .start = int_in(g, SHAPE(2, 1), 0, 90), .pos = int_in(g, SHAPE(1), 340), .scale = 0.125, .softcap = 2, \
         .rel = act_in(g, 2, 6, 50))) \
    CASE(cross_entropy, capped_chunks, \
         cross_entropy(g, act_in(g, 530, 24), real_in(g, 301, 24), count_in(g, SHAPE(2, 265), wide_target), 3)) \
    CASE(cross_entropy, chunks, \
         cross_entropy(g, act_in(g, 530, 24), real_in(g, 301, 24), count_in(g, SHAPE(2, 265), wide_target), 0)) \
    CASE(cross_entropy, more_chunks, \
         cross_entropy(g, act_in(g, 2049, 4), real_in(g, 3, 4), count_in(g, SHAPE(1, 2049), odd_word), 0)) \
    CASE(cross_entropy, many_words, \
         cross_entropy(g, act_in(g, 5, 16), real_in(g, 2068, 16), int_in(g, SHAPE(1, 5), 0, 2067, 2064, 2047, 2048), 0))
