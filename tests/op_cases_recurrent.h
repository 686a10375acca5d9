/* Cases of the op bench: what is carried along a sequence. See op_check.h. Keys and decays are small enough that a long
   memory stays of size 1. */
static inline double any(int64_t i) { return sin(0.7 * (double)i + 0.1 * (double)(i % 13)); }
static inline double small_key(int64_t i) { return 0.25 * sin(0.9 * (double)i + 0.1 * (double)(i % 11)); }
static inline double decay(int64_t i) { return -0.1 - 0.4 * fabs(sin(1.3 * (double)i)); }
static inline double strong_decay(int64_t i) { return i % 7 == 3 ? -40 : -5 * fabs(sin(1.3 * (double)i)); }
static inline double lowest_decay(int64_t i) { return i % 29 == 3 ? 0 : -5; }    /* a bounded one's */
static inline double opened(int64_t i) { return 0.5 + 0.4 * sin(1.7 * (double)i); }
static inline double one(int64_t i) { (void)i; return 1; }
static inline double zero(int64_t i) { (void)i; return 0; }
static inline int32_t one_document(int64_t i) { (void)i; return 0; }
static inline int32_t five_documents(int64_t i) { return (int32_t)(i % 67 / 15 * 15); }

/* delta_rule over B sequences of S tokens, H key heads of N, HV value heads of M. */
#define RULE(B, S, H, HV, N, M, gate, start_, delta_, chunk_, ...) \
    delta_rule(g, (struct delta_rule){ .q = act_in(g, (B) * (S), H, N), .k = act_of(g, any, (B) * (S), H, N), \
               .v = act_in(g, (B) * (S), HV, M), .g = gate, .beta = real_of(g, opened, (B) * (S), HV), \
               .start = start_, \
               .scale = 0.6, .delta = delta_, .chunk = chunk_, __VA_ARGS__ })
#define LONG_RULE(B, S, H, HV, N, M, gate, start_, delta_, chunk_, ...) \
    delta_rule(g, (struct delta_rule){ .q = act_in(g, (B) * (S), H, N), .k = act_of(g, small_key, (B) * (S), H, N), \
               .v = act_in(g, (B) * (S), HV, M), .g = gate, .beta = real_of(g, opened, (B) * (S), HV), \
               .start = start_, \
               .scale = 0.25, .delta = delta_, .chunk = chunk_, __VA_ARGS__ })
#define ONE_DOCUMENT int_in(g, SHAPE(1, 7), 0, 0, 0, 0, 0, 0, 0)
#define OTHER_DOCUMENTS int_in(g, SHAPE(2, 5), 0, 0, 2, 2, 4, 0, 1, 1, 1, 1)

#define RECURRENT_CASES(CASE) \
    CASE(delta_rule, linear, RULE(1, 7, 1, 1, 3, 2, real_of(g, decay, 7, 1), ONE_DOCUMENT, 0, 3)) \
    CASE(delta_rule, running_sum, \
         delta_rule(g, (struct delta_rule){ .q = real_of(g, one, 7, 1, 1), .k = real_of(g, one, 7, 1, 1), \
                    .v = real_in(g, 7, 1, 3), .g = real_of(g, zero, 7, 1), .beta = real_of(g, one, 7, 1), \
                    .start = ONE_DOCUMENT, .scale = 1, .chunk = 3 })) \
    CASE(delta_rule, scalar, RULE(1, 7, 1, 1, 3, 2, real_of(g, decay, 7, 1), ONE_DOCUMENT, 1, 3)) \
    CASE(delta_rule, scalar_shared, RULE(2, 5, 2, 4, 2, 3, real_of(g, decay, 10, 4), OTHER_DOCUMENTS, 1, 2)) \
    CASE(delta_rule, scalar_documents, RULE(2, 5, 1, 2, 2, 3, real_of(g, decay, 10, 2), OTHER_DOCUMENTS, 0, 4)) \
    CASE(delta_rule, vector, RULE(1, 7, 1, 1, 3, 2, real_of(g, decay, 7, 1, 3), ONE_DOCUMENT, 1, 3)) \
    CASE(delta_rule, vector_one_chunk, RULE(1, 7, 1, 2, 2, 2, real_of(g, decay, 7, 2, 2), ONE_DOCUMENT, 0, 64)) \
    CASE(delta_rule, vector_token_by_token, \
         RULE(2, 5, 1, 1, 2, 2, real_of(g, decay, 10, 1, 2), OTHER_DOCUMENTS, 1, 1)) \
    CASE(delta_rule, vector_documents, \
         RULE(2, 5, 2, 4, 2, 1, real_of(g, strong_decay, 10, 4, 2), OTHER_DOCUMENTS, 1, 3)) \
    CASE(delta_rule, blind, RULE(2, 5, 1, 1, 2, 2, real_of(g, decay, 10, 1), \
         int_in(g, SHAPE(2, 5), 0, 0, 5, 5, 5, 5, 5, 5, 5, 5), 1, 2)) \
    CASE(delta_rule, decode, RULE(2, 2, 1, 2, 2, 3, real_of(g, decay, 4, 2), int_in(g, SHAPE(2, 2), 0, 0, 5, 6), 1, 4, \
         .pos = int_in(g, SHAPE(1), 5), .state = real_in(g, 2, 3, 2, 6))) \
    CASE(delta_rule, decode_first, RULE(1, 1, 1, 1, 2, 2, real_of(g, decay, 1, 1, 2), int_in(g, SHAPE(1, 1), 0), 0, 4, \
         .pos = int_in(g, SHAPE(1), 0), .state = real_in(g, 1, 2, 1, 4))) \
    CASE(conv1d, plain, \
         conv1d(g, act_in(g, 6, 3), real_in(g, 3, 4), int_in(g, SHAPE(1, 6), 0, 0, 0, 0, 0, 0), NULL, NULL, 1, false)) \
    CASE(conv1d, silu, conv1d(g, act_in(g, 10, 2), real_in(g, 2, 3), OTHER_DOCUMENTS, NULL, NULL, 1, true)) \
    CASE(conv1d, one_tap, conv1d(g, real_in(g, 10, 3), act_in(g, 3, 1), OTHER_DOCUMENTS, NULL, NULL, 1, true)) \
    CASE(conv1d, wider_than_long, \
         conv1d(g, act_in(g, 3, 1), real_in(g, 1, 5), int_in(g, SHAPE(1, 3), 0, 0, 2), NULL, NULL, 1, false)) \
    CASE(conv1d, blind, \
         conv1d(g, act_in(g, 3, 2), real_in(g, 2, 2), int_in(g, SHAPE(1, 3), 0, 3, 3), NULL, NULL, 1, true)) \
    CASE(conv1d, decode, conv1d(g, act_in(g, 4, 3), real_in(g, 3, 4), int_in(g, SHAPE(2, 2), 0, 0, 4, 6), \
         int_in(g, SHAPE(1), 5), real_in(g, 2, 5, 3), 1, true)) \
    CASE(conv1d, decode_first, conv1d(g, act_in(g, 2, 3), real_in(g, 3, 3), int_in(g, SHAPE(1, 2), 0, 0), \
         int_in(g, SHAPE(1), 1), real_in(g, 1, 7, 3), 1, false)) \
    CASE(conv1d, apart, conv1d(g, act_in(g, 10, 2), real_in(g, 2, 3), OTHER_DOCUMENTS, NULL, NULL, 2, true)) \
    CASE(conv1d, decode_apart, conv1d(g, act_in(g, 4, 3), real_in(g, 3, 3), int_in(g, SHAPE(2, 2), 0, 0, 2, 6), \
         int_in(g, SHAPE(1), 5), real_in(g, 2, 7, 3), 2, true))

#define RECURRENT_LARGE_CASES(CASE) \
    CASE(delta_rule, scalar_long, LONG_RULE(1, 134, 1, 2, 24, 20, real_of(g, decay, 134, 2), \
         count_in(g, SHAPE(1, 134), five_documents), 1, 64)) \
    CASE(delta_rule, vector_long, LONG_RULE(2, 67, 1, 1, 16, 40, real_of(g, decay, 134, 1, 16), \
         count_in(g, SHAPE(2, 67), one_document), 1, 32)) \
    CASE(delta_rule, vector_strong, LONG_RULE(1, 67, 1, 1, 33, 7, real_of(g, strong_decay, 67, 1, 33), \
         count_in(g, SHAPE(1, 67), one_document), 0, 16)) \
    CASE(delta_rule, vector_bounded, LONG_RULE(1, 134, 1, 2, 24, 20, real_of(g, lowest_decay, 134, 2, 24), \
         count_in(g, SHAPE(1, 134), one_document), 1, 64)) \
    CASE(delta_rule, heads_of_128, LONG_RULE(1, 10, 1, 1, 128, 72, real_of(g, decay, 10, 1), \
         count_in(g, SHAPE(1, 10), one_document), 1, 8)) \
    CASE(delta_rule, wide_keys, LONG_RULE(1, 5, 1, 1, 300, 10, real_of(g, decay, 5, 1, 300), \
         count_in(g, SHAPE(1, 5), one_document), 1, 4)) \
    CASE(delta_rule, many_heads, LONG_RULE(3, 3, 30, 30, 4, 4, real_of(g, decay, 9, 30), \
         count_in(g, SHAPE(3, 3), one_document), 1, 2)) \
    CASE(delta_rule, prefill, LONG_RULE(2, 33, 1, 2, 16, 8, real_of(g, decay, 66, 2), \
         count_in(g, SHAPE(2, 33), one_document), 1, 16, .pos = int_in(g, SHAPE(1), 3), \
         .state = real_in(g, 2, 4, 2, 128))) \
    CASE(conv1d, large, conv1d(g, act_in(g, 402, 300), real_in(g, 300, 4), count_in(g, SHAPE(6, 67), five_documents), \
                               NULL, NULL, 1, true)) \
    CASE(conv1d, even, conv1d(g, act_in(g, 670, 64), real_in(g, 64, 4), count_in(g, SHAPE(10, 67), five_documents), \
                              NULL, NULL, 1, false)) \
    CASE(conv1d, prefill, conv1d(g, act_in(g, 134, 33), real_in(g, 33, 4), count_in(g, SHAPE(2, 67), one_document), \
         int_in(g, SHAPE(1), 2), real_in(g, 2, 4, 33), 1, true)) \
    CASE(conv1d, far, conv1d(g, act_in(g, 402, 300), real_in(g, 300, 4), count_in(g, SHAPE(6, 67), five_documents), \
                             NULL, NULL, 5, true)) \
    CASE(conv1d, prefill_far, conv1d(g, act_in(g, 134, 33), real_in(g, 33, 4), \
         count_in(g, SHAPE(2, 67), one_document), int_in(g, SHAPE(1), 7), real_in(g, 2, 10, 33), 3, true))
