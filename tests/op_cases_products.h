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
static inline int32_t odd_word(int64_t i) { return (int32_t)(i % 3 % 2); }
static inline int32_t none(int64_t i) { (void)i; return 0; }
/* Whom nothing is shown */
static inline int32_t long_blind(int64_t i) { return (int32_t)(i % 300 < 130 ? 0 : i < 300 && i < 210 ? 130 : 300); }

#define TEN(...) int_in(g, SHAPE(2, 5), __VA_ARGS__)
#define ZEROS TEN(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)

#define PRODUCT_CASES(CASE) \
    CASE(matmul, odd, matmul(g, act_in(g, 3, 7), real_in(g, 5, 7), DTYPE_ACT)) \
    CASE(matmul, scores, matmul(g, real_in(g, 17, 3), real_in(g, 9, 3), DTYPE_REAL)) \
    CASE(matmul, deep, matmul(g, act_in(g, 2, 260), real_in(g, 2, 260), DTYPE_ACT)) \
    CASE(matmul, one, matmul(g, act_in(g, 1, 1), act_in(g, 1, 1), DTYPE_ACT)) \
    CASE(grouped_matmul, empty_expert_and_rows_left, \
         grouped_matmul(g, act_in(g, 9, 3), real_in(g, 3, 5, 3), int_in(g, SHAPE(4), 0, 3, 3, 7))) \
    CASE(grouped_matmul, ragged, grouped_matmul(g, ragged_in(g, 7, 9, 3), real_in(g, 3, 5, 3), \
                                                int_in(g, SHAPE(4), 0, 3, 3, 7))) \
    CASE(grouped_matmul, unwritten, grouped_matmul(g, ragged_in(g, 0, 3, 2), real_in(g, 2, 4, 2), \
                                                   int_in(g, SHAPE(3), 0, 0, 0))) \
    CASE(grouped_matmul, all_to_one, grouped_matmul(g, act_in(g, 6, 2), real_in(g, 3, 4, 2), \
                                                    int_in(g, SHAPE(4), 0, 0, 6, 6))) \
    CASE(grouped_matmul, no_rows, grouped_matmul(g, real_in(g, 3, 2), real_in(g, 2, 2, 2), \
                                                 int_in(g, SHAPE(3), 0, 0, 0))) \
    CASE(grouped_matmul, many_rows, grouped_matmul(g, act_in(g, 270, 1), real_in(g, 2, 2, 1), \
                                                   count_in(g, SHAPE(3), two_experts))) \
    CASE(attention, mha, attention(g, act_in(g, 10, 2, 3), act_in(g, 10, 2, 3), act_in(g, 10, 2, 3), ZEROS, NULL, 0.6, \
                                   0)) \
    CASE(attention, gqa_window, attention(g, act_in(g, 10, 4, 2), act_in(g, 10, 2, 2), act_in(g, 10, 2, 2), ZEROS, \
                                          NULL, 0.7, 3)) \
    CASE(attention, mqa_documents, attention(g, act_in(g, 10, 3, 2), act_in(g, 10, 1, 2), act_in(g, 10, 1, 2), \
         TEN(0, 0, 2, 2, 2, 0, 0, 0, 0, 4), NULL, 1.0, 0)) \
    CASE(attention, window_of_one, attention(g, act_in(g, 10, 1, 3), act_in(g, 10, 1, 3), act_in(g, 10, 1, 3), ZEROS, \
                                             NULL, 0.5, 1)) \
    CASE(attention, wide_window, attention(g, act_in(g, 10, 1, 3), act_in(g, 10, 1, 3), act_in(g, 10, 1, 3), ZEROS, \
                                           NULL, 0.5, 9)) \
    CASE(attention, wider_values, attention(g, real_in(g, 10, 2, 2), real_in(g, 10, 1, 2), real_in(g, 10, 1, 5), \
                                            ZEROS, NULL, 0.5, 0)) \
    CASE(attention, blind, attention(g, act_in(g, 10, 4, 3), act_in(g, 10, 2, 3), act_in(g, 10, 2, 3), \
                                     TEN(0, 0, 5, 3, 5, 5, 5, 5, 5, 5), NULL, 0.6, 3)) \
    CASE(attention, blind_cached, attention(g, act_in(g, 4, 2, 2), act_in(g, 2, 7, 1, 2), act_in(g, 2, 7, 1, 2), \
         int_in(g, SHAPE(2, 2), 0, 7, 7, 7), int_in(g, SHAPE(1), 4), 0.8, 0)) \
    CASE(attention, cached, attention(g, act_in(g, 4, 2, 2), act_in(g, 2, 7, 1, 2), act_in(g, 2, 7, 1, 2), \
         int_in(g, SHAPE(2, 2), 0, 0, 3, 3), int_in(g, SHAPE(1), 4), 0.8, 5)) \
    CASE(attention, many_keys, attention(g, act_in(g, 2, 2, 2), act_in(g, 1, 262, 1, 2), act_in(g, 1, 262, 1, 2), \
         int_in(g, SHAPE(1, 2), 0, 3), int_in(g, SHAPE(1), 258), 0.8, 0)) \
    CASE(attention, many_queries, attention(g, act_in(g, 70, 1, 1), act_in(g, 70, 1, 1), act_in(g, 70, 1, 1), \
         count_in(g, SHAPE(1, 70), none), NULL, 0.9, 0)) \
    CASE(cross_entropy, many_tokens, cross_entropy(g, act_in(g, 260, 1), real_in(g, 3, 1), \
                                                   count_in(g, SHAPE(2, 130), odd_word))) \
    CASE(cross_entropy, odd, cross_entropy(g, act_in(g, 5, 3), real_in(g, 7, 3), \
                                           int_in(g, SHAPE(1, 5), 0, 6, 3, 3, 1))) \
    CASE(cross_entropy, one_word, cross_entropy(g, real_in(g, 2, 3), real_in(g, 1, 3), int_in(g, SHAPE(2, 1), 0, 0)))

#define PRODUCT_LARGE_CASES(CASE) \
    CASE(matmul, blocks, matmul(g, act_in(g, 401, 300), real_in(g, 530, 300), DTYPE_ACT)) \
    CASE(matmul, deeper, matmul(g, act_in(g, 9, 1030), real_in(g, 35, 1030), DTYPE_REAL)) \
    CASE(matmul, rows, matmul(g, act_in(g, 1030, 40), real_in(g, 33, 40), DTYPE_ACT)) \
    CASE(matmul, rounded, matmul(g, real_in(g, 129, 20), real_in(g, 10, 20), DTYPE_ACT)) \
    CASE(matmul, of_activations, matmul(g, act_in(g, 33, 24), act_in(g, 17, 24), DTYPE_REAL)) \
    CASE(grouped_matmul, tile_edges, grouped_matmul(g, act_in(g, 388, 72), real_in(g, 4, 136, 72), \
                                                    count_in(g, SHAPE(5), tile_edges))) \
    CASE(grouped_matmul, large_ragged, grouped_matmul(g, ragged_in(g, 190, 400, 72), real_in(g, 3, 136, 72), \
                                                      int_in(g, SHAPE(4), 0, 0, 130, 190))) \
    CASE(grouped_matmul, odd_widths, grouped_matmul(g, act_in(g, 200, 267), real_in(g, 3, 129, 267), \
                                                    int_in(g, SHAPE(4), 0, 0, 130, 190))) \
    CASE(grouped_matmul, even_widths, grouped_matmul(g, act_in(g, 140, 260), real_in(g, 1, 130, 260), \
                                                     int_in(g, SHAPE(2), 0, 139))) \
    CASE(grouped_matmul, many_experts, grouped_matmul(g, act_in(g, 201, 16), real_in(g, 40, 8, 16), \
                                                      count_in(g, SHAPE(41), five_each))) \
    CASE(grouped_matmul, experts_of_a_warp, grouped_matmul(g, real_in(g, 161, 5), real_in(g, 32, 6, 5), \
                                                           count_in(g, SHAPE(33), five_each))) \
    CASE(grouped_matmul, uneven, grouped_matmul(g, act_in(g, 700, 48), real_in(g, 5, 40, 48), \
                                                count_in(g, SHAPE(6), uneven_offset))) \
    CASE(attention, long, attention(g, act_in(g, 600, 4, 24), act_in(g, 600, 2, 24), act_in(g, 600, 2, 24), \
         count_in(g, SHAPE(2, 300), none), NULL, 0.2, 0)) \
    CASE(attention, long_documents, attention(g, act_in(g, 600, 2, 16), act_in(g, 600, 1, 16), act_in(g, 600, 1, 16), \
         count_in(g, SHAPE(2, 300), long_start), NULL, 0.25, 0)) \
    CASE(attention, long_blind, attention(g, act_in(g, 600, 2, 16), act_in(g, 600, 1, 16), act_in(g, 600, 1, 16), \
         count_in(g, SHAPE(2, 300), long_blind), NULL, 0.25, 0)) \
    CASE(attention, long_window, attention(g, act_in(g, 600, 2, 16), act_in(g, 600, 1, 16), act_in(g, 600, 1, 16), \
         count_in(g, SHAPE(2, 300), long_start), NULL, 0.25, 70)) \
    CASE(attention, heads_of_32, attention(g, act_in(g, 130, 4, 32), act_in(g, 130, 2, 32), act_in(g, 130, 2, 32), \
         count_in(g, SHAPE(2, 65), none), NULL, 0.18, 0)) \
    CASE(attention, heads_of_64, attention(g, act_in(g, 217, 2, 64), act_in(g, 217, 1, 64), act_in(g, 217, 1, 64), \
         count_in(g, SHAPE(1, 217), long_start), NULL, 0.125, 70)) \
    CASE(attention, heads_of_128, attention(g, act_in(g, 141, 3, 128), act_in(g, 141, 1, 128), act_in(g, 141, 1, 128), \
         count_in(g, SHAPE(1, 141), long_start), NULL, 0.09, 0)) \
    CASE(attention, heads_of_256, attention(g, act_in(g, 33, 2, 256), act_in(g, 33, 1, 256), act_in(g, 33, 1, 256), \
         count_in(g, SHAPE(1, 33), none), NULL, 0.0625, 20)) \
    CASE(attention, latent_heads, attention(g, act_in(g, 37, 2, 192), act_in(g, 37, 2, 192), act_in(g, 37, 2, 128), \
         count_in(g, SHAPE(1, 37), none), NULL, 0.07, 0)) \
    CASE(attention, odd_heads, attention(g, act_in(g, 99, 2, 48), act_in(g, 99, 1, 48), act_in(g, 99, 1, 5), \
         count_in(g, SHAPE(3, 33), none), NULL, 0.14, 0)) \
    CASE(attention, widest_heads, attention(g, act_in(g, 9, 2, 260), act_in(g, 9, 1, 260), act_in(g, 9, 1, 130), \
         count_in(g, SHAPE(1, 9), none), NULL, 0.06, 0)) \
    CASE(attention, decode, attention(g, act_in(g, 2, 6, 64), act_in(g, 2, 150, 2, 64), act_in(g, 2, 150, 2, 64), \
         int_in(g, SHAPE(2, 1), 0, 90), int_in(g, SHAPE(1), 149), 0.125, 0)) \
    CASE(cross_entropy, chunks, cross_entropy(g, act_in(g, 530, 24), real_in(g, 301, 24), \
                                              count_in(g, SHAPE(2, 265), wide_target))) \
    CASE(cross_entropy, more_chunks, cross_entropy(g, act_in(g, 2049, 4), real_in(g, 3, 4), \
                                                   count_in(g, SHAPE(1, 2049), odd_word))) \
    CASE(cross_entropy, many_words, cross_entropy(g, act_in(g, 5, 16), real_in(g, 2068, 16), \
                                                  int_in(g, SHAPE(1, 5), 0, 2067, 2064, 2047, 2048)))
