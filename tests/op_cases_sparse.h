/* Cases of the op bench: attention to keys that an index names, and the choice of those. See op_check.h.
   Waves of the indexer are such that a nudge of a value changes neither a choice nor the side of a relu. */
static inline double index_query(int64_t i) { return sin(0.53 * (double)i); }
static inline double index_key(int64_t i) { return sin(0.81 * (double)i + 0.6); }
static inline double index_weight(int64_t i) { return sin(1.66 * (double)i + 0.3); }
/* Keys of tokens that have 24: seen ones, later ones, the same again, none. */
static inline int32_t some_named(int64_t i) { return (int32_t)((i / 24 * 7 + i % 24 * (i % 24 + 13)) % 301) - 1; }
static inline int32_t near_named(int64_t i) { return (int32_t)((i / 24 * 7 + i % 24 * (i % 24 + 13)) % 38) - 1; }
static inline int32_t some_blocks(int64_t i) { return (int32_t)(i * i % 97 % 20) - 1; }
/* Of tokens that have 300: all positions up to 299, backwards. */
static inline int32_t all_named(int64_t i) { return (int32_t)(299 - i % 300); }

static inline int32_t two_of(int64_t i) { (void)i; return 2; }
static inline int32_t by_head(int64_t i) { return (int32_t)(i * i % 31 % 12) - 1; }

/* Nobody, future, unknown and repeated keys are among them. */
#define THREE_EACH \
    int_in(g, SHAPE(10, 3), 0, -1, -1, 1, 0, -1, 2, 0, 1, -1, 3, 1, 4, 1, 0, 0, 2, -1, 1, 1, 0, 3, 2, 7, 3, 0, 4, \
           -1, -1, 9)
#define FOUR_EACH int_in(g, SHAPE(4, 4), 0, 4, 2, -1, 5, 3, 6, 1, 4, 3, 2, 4, -1, 5, 4, 3)
#define TEN_NAMED(heads, groups, width, ...) \
    ATTEND(QKV(10, heads, groups, width), .scale = 0.6, .index = THREE_EACH, __VA_ARGS__)
#define CACHED(...) \
    ATTEND(.q = act_in(g, 4, 2, 2), .k = act_in(g, 2, 7, 1, 2), .v = act_in(g, 2, 7, 1, 2), \
           .pos = int_in(g, SHAPE(1), 4), .scale = 0.8, .index = FOUR_EACH, __VA_ARGS__)

#define TEN_NAMED_BY_HEAD(heads, groups, width, ...) \
    ATTEND(QKV(10, heads, groups, width), .scale = 0.6, .index = count_in(g, SHAPE(10, heads, 3), by_head), __VA_ARGS__)

/* Windows of m tokens of two sequences of five, in a document or two each; while decoding, three tokens of each. */
#define POOL(N, bias, start, m, overlap) \
    pool_windows(g, act_in(g, 10, N), real_in(g, 10, N), bias, start, NULL, NULL, NULL, m, overlap)
#define POOL_MORE(N, W, at, R, m, overlap) \
    pool_windows(g, act_in(g, 6, N), real_in(g, 6, N), real_in(g, m, N), int_in(g, SHAPE(2, 3), 0, 0, 0, 1, 1, 1), \
                 int_in(g, SHAPE(1), at), real_in(g, 2, R, 2 * (N)), real_in(g, 2, 5, W), m, overlap)

/* index_topk over B sequences of S tokens, keys of C positions. */
#define CHOOSE(B, S, C, J, N, ...) \
    index_topk(g, (struct index_topk){ .q = act_of(g, index_query, (B) * (S), J, N), \
               .k = act_of(g, index_key, (B) * (C), N), .w = real_of(g, index_weight, (B) * (S), J), __VA_ARGS__ })
#define CHOOSE_POOLED(B, S, E, J, N, ...) \
    index_topk(g, (struct index_topk){ .q = act_of(g, index_query, (B) * (S), J, N), \
               .k = act_of(g, index_key, B, E, N), .w = real_of(g, index_weight, (B) * (S), J), __VA_ARGS__ })
#define BLOCKS(T, H, G, W, ...) \
    block_topk(g, (struct block_topk){ .q = act_of(g, index_query, T, H, W), .k = act_of(g, index_key, T, G, W), \
               __VA_ARGS__ })
#define CHOOSE_CACHED(B, S, C, J, N, ...) \
    index_topk(g, (struct index_topk){ .q = act_of(g, index_query, (B) * (S), J, N), \
               .k = act_of(g, index_key, B, C, N), .w = real_of(g, index_weight, (B) * (S), J), __VA_ARGS__ })
#define SIX_ZEROS int_in(g, SHAPE(1, 6), 0, 0, 0, 0, 0, 0)

/* Scores of rows of five with their masses: one without an entry, and a row without mass. */
static inline double row_score(int64_t i) { return i % 5 == i / 5 ? -INFINITY : sin(2.3 * (double)i); }
static inline double row_mass(int64_t i) { return i % 5 == i / 5 || i / 5 == 2 ? 0 : 1.1 + cos(1.7 * (double)i); }

/* Blocks of three, of two heads; keys that are no positions. */
#define TWO_BLOCKS(tokens, ...) int_in(g, SHAPE(tokens, 2, 2), __VA_ARGS__)
#define TEN_BLOCKS \
    TWO_BLOCKS(10, 0, -1, 0, 1, 1, 0, 0, -1, -1, -1, 0, 0, 1, 0, 0, 1, 1, 2, 2, 1, 0, 2, 1, 0, 2, 0, 2, 1, 3, 2, -1, \
               3, 3, 0, 0, 3, 1, 3, 2, 9)
#define BLOCKS_OF(tokens, heads, groups, width, ...) \
    ATTEND(QKV(tokens, heads, groups, width), .scale = 0.6, .block = 3, __VA_ARGS__)
#define ALONE(tokens, keys, heads, groups, width, ...) \
    ATTEND(.q = act_in(g, tokens, heads, width), .k = act_in(g, 2, keys, groups, width), \
           .v = act_in(g, 2, keys, groups, width), .scale = 0.7, __VA_ARGS__)

#define SPARSE_CASES(CASE) \
    SPARSE_POOL_CASES(CASE) \
    CASE(kl_rows, plain, kl_rows(g, real_in(g, 5, 7), positive_in(g, 5, 7))) \
    CASE(kl_rows, wide, kl_rows(g, real_in(g, 2, 70), positive_in(g, 2, 70))) \
    CASE(kl_rows, one, kl_rows(g, real_in(g, 3, 1), positive_in(g, 3, 1))) \
    CASE(kl_rows, holes, kl_rows(g, real_of(g, row_score, 4, 5), real_of(g, row_mass, 4, 5))) \
    CASE(attention_entropy, named, SPREAD(QKV(10, 4, 2, 2), .start = ZEROS, .scale = 0.7, .block = 3, \
         .index = int_in(g, SHAPE(10, 2), 0, 1, 1, 0, 0, -1, 1, 0, 0, 1, 1, 2, 2, 1, 0, 2, 3, 1, 3, 9))) \
    CASE(attention, blocks, BLOCKS_OF(10, 2, 1, 3, .start = ZEROS, .index = TEN_BLOCKS)) \
    CASE(attention, blocks_documents, BLOCKS_OF(10, 2, 2, 2, .start = DOCUMENTS, .index = TEN_BLOCKS, \
         .sink = real_in(g, 2), .rel = act_in(g, 10, 2, 4), .softcap = 1.5, .window = 6)) \
    CASE(attention, blocks_of_a_token, BLOCKS_OF(10, 4, 2, 2, .start = ZEROS, \
         .index = int_in(g, SHAPE(10, 2), 0, 1, 1, 0, 0, -1, 1, 0, 0, 1, 1, 2, 2, 1, 0, 2, 3, 1, 3, 9))) \
    CASE(attention, blocks_cached, ATTEND(.q = act_in(g, 4, 2, 2), .k = act_in(g, 2, 7, 1, 2), \
         .v = act_in(g, 2, 7, 1, 2), .pos = int_in(g, SHAPE(1), 4), .scale = 0.8, .block = 3, \
         .start = int_in(g, SHAPE(2, 2), 0, 0, 3, 3), \
         .index = TWO_BLOCKS(4, 1, 0, 1, -1, 0, 1, 0, 1, 0, 1, -1, 0, 1, 0, 0, 9))) \
    CASE(attention, index_of_heads, TEN_NAMED_BY_HEAD(4, 2, 3, .start = ZEROS)) \
    CASE(attention, index_of_many_heads, TEN_NAMED_BY_HEAD(4, 1, 2, .start = DOCUMENTS, .sink = real_in(g, 10, 4), \
         .rel = act_in(g, 10, 4, 3))) \
    CASE(attention, index_alone, ALONE(6, 5, 3, 1, 2, .start = int_in(g, SHAPE(2, 3), 0, 0, 2, 0, 3, 1), \
         .index = int_in(g, SHAPE(6, 3), 0, 4, -1, 2, 2, 1, 4, 3, 0, -1, -1, -1, 5, 1, 2, 3, 0, 4), \
         .sink = real_in(g, 3))) \
    CASE(attention, index_alone_capped, ALONE(6, 5, 4, 2, 3, .start = int_in(g, SHAPE(2, 3), 0, 0, 2, 0, 3, 1), \
         .index = int_in(g, SHAPE(6, 2), 0, 4, -1, 2, 2, 1, 4, 3, 0, -1, -1, -1), .softcap = 0.8)) \
    CASE(attention, index, TEN_NAMED(4, 2, 3, .start = ZEROS)) \
    CASE(attention, index_documents, TEN_NAMED(3, 1, 2, .start = DOCUMENTS)) \
    CASE(attention, index_of_the_blind, TEN_NAMED(4, 2, 3, .start = TEN(0, 0, 5, 3, 5, 5, 5, 5, 5, 5), \
         .sink = real_in(g, 4))) \
    CASE(attention, index_and_bias, TEN_NAMED(2, 2, 3, .start = ZEROS, .rel = act_in(g, 10, 2, 2))) \
    CASE(attention, index_capped, TEN_NAMED(2, 1, 3, .start = ZEROS, .softcap = 0.7)) \
    CASE(attention, index_everything, TEN_NAMED(4, 2, 3, .start = DOCUMENTS, .window = 3, .chunk = 4, .softcap = 1.5, \
         .sink = real_in(g, 10, 4), .rel = act_in(g, 10, 4, 3))) \
    CASE(attention, index_wide_group, TEN_NAMED(11, 1, 2, .start = ZEROS, .sink = real_in(g, 11))) \
    CASE(attention, index_wider_values, ATTEND(.q = real_in(g, 10, 2, 2), .k = real_in(g, 10, 1, 2), \
         .v = real_in(g, 10, 1, 5), .start = ZEROS, .scale = 0.5, .index = THREE_EACH)) \
    CASE(attention, index_values_of_keys, ATTEND(.q = act_in(g, 10, 3, 5), .k = act_in(g, 10, 1, 5), .values = 3, \
         .start = ZEROS, .scale = 0.6, .index = THREE_EACH)) \
    CASE(attention, index_cached, CACHED(.start = int_in(g, SHAPE(2, 2), 0, 0, 3, 3))) \
    CASE(attention, index_everything_cached, CACHED(.start = int_in(g, SHAPE(2, 2), 0, 1, 3, 7), .window = 5, \
         .chunk = 4, .softcap = 1.5, .sink = real_in(g, 2), .rel = real_in(g, 4, 2, 3))) \
    CASE(index_topk, relu, CHOOSE(1, 6, 6, 2, 3, .start = SIX_ZEROS, .chosen = 3, .relu = true)) \
    CASE(index_topk, products, CHOOSE(2, 5, 5, 1, 2, .start = DOCUMENTS, .chosen = 2)) \
    CASE(index_topk, all, CHOOSE(1, 6, 6, 2, 2, .start = SIX_ZEROS, .chosen = 9, .relu = true)) \
    CASE(index_topk, window, CHOOSE(1, 6, 6, 2, 3, .start = SIX_ZEROS, .chosen = 2, .window = 3, .relu = true)) \
    CASE(index_topk, chunks, CHOOSE(2, 5, 5, 1, 3, .start = ZEROS, .chosen = 1, .chunk = 2)) \
    CASE(index_topk, blind, CHOOSE(2, 5, 5, 2, 3, .start = TEN(0, 0, 5, 3, 5, 5, 5, 5, 5, 5), .chosen = 2, \
         .relu = true)) \
    CASE(index_topk, counted, CHOOSE(1, 6, 6, 2, 3, .start = SIX_ZEROS, .chosen = 5, \
         .count = real_count_in(g, SHAPE(1), two_of), .relu = true)) \
    CASE(index_topk, pooled, CHOOSE_POOLED(2, 5, 3, 2, 3, .start = DOCUMENTS, .chosen = 2, .pool = 2, .relu = true)) \
    CASE(block_topk, plain, BLOCKS(10, 2, 1, 2, .start = ZEROS, .chosen = 3, .block = 2)) \
    CASE(block_topk, documents, BLOCKS(10, 4, 2, 3, .start = DOCUMENTS, .chosen = 2, .block = 2)) \
    CASE(block_topk, blind, BLOCKS(10, 2, 2, 3, .start = TEN(0, 0, 5, 3, 5, 5, 5, 5, 5, 5), .chosen = 2, .block = 1, \
         .window = 3)) \
    CASE(block_topk, cached, block_topk(g, (struct block_topk){ .q = act_of(g, index_query, 4, 2, 3), \
         .k = act_of(g, index_key, 2, 9, 1, 3), .start = int_in(g, SHAPE(2, 2), 0, 1, 3, 9), \
         .pos = int_in(g, SHAPE(1), 6), .chosen = 3, .block = 2 })) \
    CASE(index_topk, cached, CHOOSE_CACHED(2, 2, 7, 2, 3, .start = int_in(g, SHAPE(2, 2), 0, 0, 3, 7), \
         .pos = int_in(g, SHAPE(1), 4), .chosen = 3, .window = 5, .chunk = 4, .relu = true))

#define SPARSE_POOL_CASES(CASE) \
    CASE(pool_windows, plain, POOL(3, NULL, ZEROS, 2, false)) \
    CASE(pool_windows, bias, POOL(3, real_in(g, 2, 3), DOCUMENTS, 2, false)) \
    CASE(pool_windows, one, POOL(3, real_in(g, 1, 3), TEN(0, 0, 5, 3, 5, 5, 5, 5, 5, 5), 1, false)) \
    CASE(pool_windows, none, POOL(3, NULL, ZEROS, 7, false)) \
    CASE(pool_windows, overlap, POOL(4, NULL, ZEROS, 2, true)) \
    CASE(pool_windows, overlap_documents, POOL(6, real_in(g, 2, 6), DOCUMENTS, 2, true)) \
    CASE(pool_windows, overlap_of_one, POOL(2, real_in(g, 1, 2), DOCUMENTS, 1, true)) \
    CASE(join_pooled, plain, join_pooled(g, act_in(g, 10, 3), act_in(g, 2, 2, 3), NULL, ZEROS, NULL, NULL, 2, 2)) \
    CASE(join_pooled, chosen, join_pooled(g, act_in(g, 10, 3), real_in(g, 2, 2, 3), \
         int_in(g, SHAPE(10, 1), -1, 0, 1, 0, 1, 1, 0, 0, 0, 1), DOCUMENTS, NULL, NULL, 7, 2))
#define SPARSE_DECODE_CASES(CASE) \
    CASE(pool_windows, decoded, POOL_MORE(3, 3, 4, 4, 2, false)) \
    CASE(pool_windows, decoded_overlap, POOL_MORE(4, 2, 5, 9, 2, true)) \
    CASE(pool_windows, decoded_at_first, POOL_MORE(4, 2, 0, 3, 2, true)) \
    CASE(join_pooled, decoded, join_pooled(g, act_in(g, 2, 9, 4), act_in(g, 2, 4, 4), NULL, \
         int_in(g, SHAPE(2, 3), 0, 0, 0, 3, 3, 9), int_in(g, SHAPE(1), 5), NULL, 4, 2)) \
    CASE(join_pooled, decoded_at_first, join_pooled(g, act_in(g, 2, 9, 4), real_in(g, 2, 4, 4), \
         int_in(g, SHAPE(4, 2), 0, 1, -1, 0, 0, 2, 1, 0), int_in(g, SHAPE(2, 2), 0, 0, 0, 1), int_in(g, SHAPE(1), 0), \
         NULL, 5, 2)) \
    CASE(join_pooled, decoded_in_ring, join_pooled(g, act_in(g, 2, 6, 4), act_in(g, 2, 4, 4), NULL, \
         int_in(g, SHAPE(2, 3), 0, 0, 0, 3, 3, 9), int_in(g, SHAPE(1), 7), int_in(g, SHAPE(1), 3), 4, 2))

#define SPARSE_LARGE_CASES(CASE) \
    SPARSE_DECODE_CASES(CASE) \
    CASE(pool_windows, long, pool_windows(g, act_in(g, 600, 40), real_in(g, 600, 40), real_in(g, 16, 40), \
         count_in(g, SHAPE(2, 300), long_start), NULL, NULL, NULL, 16, true)) \
    CASE(pool_windows, wide, pool_windows(g, act_in(g, 70, 300), real_in(g, 70, 300), real_in(g, 33, 300), \
         count_in(g, SHAPE(1, 70), none), NULL, NULL, NULL, 33, false)) \
    CASE(join_pooled, long, join_pooled(g, act_in(g, 600, 24), act_in(g, 2, 18, 24), NULL, \
         count_in(g, SHAPE(2, 300), long_start), NULL, NULL, 40, 16)) \
    CASE(attention, index_long, ATTEND(QKV(600, 4, 2, 24), .start = count_in(g, SHAPE(2, 300), none), .scale = 0.2, \
         .index = count_in(g, SHAPE(600, 24), some_named))) \
    CASE(attention, index_all, ATTEND(QKV(300, 2, 1, 16), .start = count_in(g, SHAPE(1, 300), long_start), \
         .scale = 0.25, .index = count_in(g, SHAPE(300, 300), all_named))) \
    CASE(attention, index_of_64, ATTEND(QKV(217, 6, 1, 64), .start = count_in(g, SHAPE(1, 217), long_start), \
         .scale = 0.125, .window = 70, .chunk = 100, .softcap = 2, .sink = real_in(g, 6), \
         .rel = act_in(g, 217, 6, 40), .index = count_in(g, SHAPE(217, 24), some_named))) \
    CASE(attention, index_of_latent_heads, ATTEND(.q = act_in(g, 37, 2, 192), .k = act_in(g, 37, 2, 192), \
         .v = act_in(g, 37, 2, 128), .start = count_in(g, SHAPE(1, 37), none), .scale = 0.07, \
         .index = count_in(g, SHAPE(37, 24), near_named))) \
    CASE(attention, index_widest, ATTEND(.q = act_in(g, 39, 9, 260), .k = act_in(g, 39, 1, 260), \
         .v = act_in(g, 39, 1, 130), .start = count_in(g, SHAPE(1, 39), none), .scale = 0.06, \
         .sink = real_in(g, 39, 9), .index = count_in(g, SHAPE(39, 24), near_named))) \
    CASE(attention, index_decoded, ATTEND(.q = act_in(g, 2, 6, 64), .k = act_in(g, 2, 150, 2, 64), \
         .v = act_in(g, 2, 150, 2, 64), .start = int_in(g, SHAPE(2, 1), 0, 90), .pos = int_in(g, SHAPE(1), 149), \
         .scale = 0.125, .index = count_in(g, SHAPE(2, 24), near_named))) \
    CASE(kl_rows, large, kl_rows(g, real_in(g, 700, 33), positive_in(g, 700, 33))) \
    CASE(kl_rows, long_rows, kl_rows(g, real_in(g, 5, 9001), positive_in(g, 5, 9001))) \
    CASE(attention, blocks_long, ATTEND(QKV(300, 4, 2, 24), .start = count_in(g, SHAPE(1, 300), long_start), \
         .scale = 0.2, .block = 17, .index = count_in(g, SHAPE(300, 4, 3), some_blocks))) \
    CASE(attention, index_alone_long, ATTEND(.q = act_in(g, 150, 9, 16), .k = act_in(g, 2, 350, 1, 16), \
         .v = act_in(g, 2, 350, 1, 16), .start = count_in(g, SHAPE(2, 75), none), .scale = 0.25, \
         .sink = real_in(g, 9), .index = count_in(g, SHAPE(150, 24), some_named))) \
    CASE(block_topk, long, block_topk(g, (struct block_topk){ .q = act_in(g, 600, 4, 24), .k = act_in(g, 600, 2, 24), \
         .start = count_in(g, SHAPE(2, 300), long_start), .chosen = 5, .block = 7 })) \
    CASE(block_topk, window, block_topk(g, (struct block_topk){ .q = act_in(g, 300, 9, 32), \
         .k = act_in(g, 300, 1, 32), .start = count_in(g, SHAPE(1, 300), none), .chosen = 4, .block = 3, \
         .window = 100 })) \
    CASE(block_topk, decoded, block_topk(g, (struct block_topk){ .q = act_in(g, 2, 4, 64), \
         .k = act_in(g, 2, 700, 2, 64), .start = int_in(g, SHAPE(2, 1), 0, 90), .pos = int_in(g, SHAPE(1), 690), \
         .chosen = 5, .block = 16 })) \
    CASE(index_topk, pooled_long, index_topk(g, (struct index_topk){ .q = act_in(g, 600, 4, 32), \
         .k = act_in(g, 2, 75, 32), .w = real_in(g, 600, 4), .start = count_in(g, SHAPE(2, 300), long_start), \
         .chosen = 20, .pool = 4, .relu = true })) \
    CASE(index_topk, long, index_topk(g, (struct index_topk){ .q = act_in(g, 600, 4, 32), .k = act_in(g, 600, 32), \
         .w = real_in(g, 600, 4), .start = count_in(g, SHAPE(2, 300), long_start), .chosen = 40, .relu = true })) \
    CASE(index_topk, all_of_many, index_topk(g, (struct index_topk){ .q = act_in(g, 300, 3, 20), \
         .k = act_in(g, 300, 20), .w = real_in(g, 300, 3), .start = count_in(g, SHAPE(1, 300), none), .chosen = 300, \
         .relu = true })) \
    CASE(index_topk, wide, index_topk(g, (struct index_topk){ .q = act_in(g, 50, 9, 260), .k = act_in(g, 50, 260), \
         .w = real_in(g, 50, 9), .start = count_in(g, SHAPE(1, 50), none), .chosen = 11, .window = 20 })) \
    CASE(index_topk, decoded, index_topk(g, (struct index_topk){ .q = act_in(g, 2, 4, 64), .k = act_in(g, 2, 700, 64), \
         .w = real_in(g, 2, 4), .start = int_in(g, SHAPE(2, 1), 0, 90), .pos = int_in(g, SHAPE(1), 690), .chosen = 33, \
         .relu = true }))
