/* Cases of the op bench: routing, dispatch and the ops of the update region. See op_check.h.
   The maps of the tiny cases are those of dispatch for these choices, [T,K]:
       mixed {1,0} {1,2} {0,1}   top_1 {2} {0} {2} {0} (nobody takes 1)   all {1,0} {0,1}   same {0} {0} {0}
       top_3 and top_5 {0,1,2,..} {0,1,2,..}   holes {1,-1} {-1,2} {0,1}   nobody {-1,-1} {-1,-1}
   bound is holes with 5 rows in place of 6 */
#define MIXED_ORDER int_in(g, SHAPE(6), 1, 4, 0, 2, 5, 3)
#define MIXED_INVERSE int_in(g, SHAPE(3, 2), 2, 0, 3, 5, 1, 4)
#define TOP_1_ORDER int_in(g, SHAPE(4), 1, 3, 0, 2)
#define TOP_1_INVERSE int_in(g, SHAPE(4, 1), 2, 0, 3, 1)
#define TOP_3_ORDER int_in(g, SHAPE(6), 0, 3, 1, 4, 2, 5)
#define TOP_3_INVERSE int_in(g, SHAPE(2, 3), 0, 2, 4, 1, 3, 5)
#define TOP_5_ORDER int_in(g, SHAPE(10), 0, 5, 1, 6, 2, 7, 3, 8, 4, 9)
#define TOP_5_INVERSE int_in(g, SHAPE(2, 5), 0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
#define ALL_ORDER   int_in(g, SHAPE(4), 1, 2, 0, 3)
#define ALL_INVERSE   int_in(g, SHAPE(2, 2), 2, 0, 1, 3)
#define SAME_ORDER  int_in(g, SHAPE(3), 0, 1, 2)
#define SAME_INVERSE  int_in(g, SHAPE(3, 1), 0, 1, 2)
#define HOLES_ORDER int_in(g, SHAPE(6), 4, 0, 5, 3, -1, -1)
#define HOLES_INVERSE int_in(g, SHAPE(3, 2), 1, -1, -1, 3, 0, 2)
#define BOUND_ORDER int_in(g, SHAPE(5), 4, 0, 5, 3, -1)
#define NOBODY(...) int_in(g, SHAPE(__VA_ARGS__), -1, -1, -1, -1)

/* 1200 rows, 300 tokens of 4 choices. 343 * 7 = 1 modulo 1200: the two are inverse. */
static inline int32_t large_inverse(int64_t i) { return (int32_t)((7 * i + 3) % 1200); }
static inline int32_t large_order(int64_t r) { return (int32_t)(343 * (r + 1197) % 1200); }
/* The same with 800 rows and two of three slots: 343 * 7 = 1 modulo 800, too. */
static inline int32_t holes_inverse(int64_t i) { return i % 3 ? (int32_t)((7 * (i - i / 3 - 1) + 3) % 800) : -1; }
static inline int32_t holes_order(int64_t r)
{
    int32_t j = (int32_t)(343 * (r + 797) % 800);
    return r < 800 ? j + j / 2 + 1 : -1;
}
static inline int32_t holes_choice(int64_t i) { return i % 5 ? (int32_t)(i * i / 3 % 11) : -1; }
static inline int32_t choice_and_beyond(int64_t i) { return (int32_t)(i * i / 3 % 16) - 1; }
static inline int32_t few_keys(int64_t i) { return (int32_t)(i * i / 7 % 5) - 2; }
static inline int32_t often_zero(int64_t i) { return (int32_t)(i * i / 7 % 3) - 1; }
static inline int32_t rate_one(int64_t i) { (void)i; return 1; }
static inline int32_t third_step(int64_t i) { (void)i; return 3; }
static inline int32_t room_now(int64_t i) { (void)i; return 700; }
static inline int32_t rooms_of(int64_t i) { return (int32_t)(i < 3 ? i : i * 97 % 900); }
static inline int32_t counts_of(int64_t i) { return (int32_t)(i < 8 ? i * 7 % 23 : i * i % 5000); }
static inline int32_t many_ids(int64_t i) { return (int32_t)(i * 7919 % 50021); }
static inline int32_t nothing(int64_t i) { (void)i; return 0; }
static inline int32_t nobody(int64_t i) { (void)i; return -1; }
static inline int32_t large_choice(int64_t i) { return (int32_t)(i * i / 3 % 11); }
static inline int32_t large_index(int64_t i) { return (int32_t)(i * i % 37); }
static inline int32_t large_crowd(int64_t i) { return i == 700 ? 1 : 3; }

/* 120 rows likewise: 103 * 7 = 1 modulo 120. */
static inline int32_t wide_inverse(int64_t i) { return (int32_t)((7 * i + 3) % 120); }
static inline int32_t wide_order(int64_t r) { return (int32_t)(103 * (r + 117) % 120); }

static inline int32_t all_ones(int64_t i) { (void)i; return 1; }
static inline int32_t six(int64_t i) { (void)i; return 6; }
static inline int32_t seven(int64_t i) { (void)i; return 7; }
static inline int32_t nine(int64_t i) { (void)i; return 9; }
static inline int32_t ninety(int64_t i) { (void)i; return 90; }
static inline int32_t about_nine(int64_t i) { return (int32_t)(8 + i % 3); }
/* Rings of four, of which so many values were seen. */
#define SKIP_OUTLIERS(clip, x, seen) \
    skip_outliers(g, real_count_in(g, SHAPE(2), clip), real_count_in(g, SHAPE(1), nine), \
                  real_count_in(g, SHAPE(1), x), real_count_in(g, SHAPE(2, 4), about_nine), \
                  real_count_in(g, SHAPE(1), seen), 3)
#define ADAM_USUAL .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .decay = 0.1, .rate = 1
#define ADAMW(...) ADAMW_AS(NULL, (ADAM_USUAL), __VA_ARGS__)
#define ADAMW_AS(radius, how, ...) ADAMW_AT(1, radius, how, __VA_ARGS__)
#define BARE(...) __VA_ARGS__
#define ADAMW_AT(values, radius, how, ...) \
    ADAMW_WITH(values, real_in(g, __VA_ARGS__), positive_in(g, __VA_ARGS__), NULL, radius, how, __VA_ARGS__)
#define ADAMW_OF(m, v, largest, radius, how, ...) ADAMW_WITH(1, m, v, largest, radius, how, __VA_ARGS__)
#define ADAMW_WITH(values, m, v, largest, radius, how, ...) \
    adamw(g, real_in(g, __VA_ARGS__), real_in(g, __VA_ARGS__), m, v, positive_in(g, values), \
          real_count_in(g, SHAPE(1), third_step), positive_in(g, 2), radius, largest, (struct adamw_attr){ BARE how })
/* Moments in bf16, and in codes: of each block the largest is 1/8. */
static inline int32_t half_bytes(int64_t i) { return (int32_t)(i % 2 ? 0x3e : i * 37 % 256); }
static inline int32_t code_bytes(int64_t i)
{
    int64_t at = i % MOMENT_BYTES;
    return (int32_t)(at >= MOMENT_LARGEST ? i * 7919 % 251 : at == MOMENT_LARGEST - 1 ? 0x3e : 0);
}
#define HALVES(n) byte_in(g, SHAPE(n, 2), half_bytes)
#define CODED(blocks) byte_in(g, SHAPE(blocks, MOMENT_BYTES), code_bytes)
#define DION(ranks, k, ...) DION_AT(1, ranks, k, __VA_ARGS__)
#define DION_AT(values, ranks, k, ...) \
    dion(g, real_in(g, __VA_ARGS__), real_in(g, __VA_ARGS__), real_in(g, __VA_ARGS__), real_in(g, ranks, k), \
         positive_in(g, values), positive_in(g, 2), (struct dion_attr){ 0.95, 0.1, 0.3 })
/* Of matrices [5,5] and [12,12]: symmetric, with eigenvalues well apart; with singular values whose squares are. */
static inline double apart(int64_t r, int64_t c) { return r == c ? 1 + (double)r : 0.1 / (1 + (double)llabs(r - c)); }
static inline double factor_5(int64_t i) { return apart(i % 25 / 5, i % 5); }
static inline double factor_12(int64_t i) { return apart(i % 144 / 12, i % 12); }
static inline double apart_5(int64_t i)
{
    return i % 25 / 5 == i % 5 ? sqrt(1 + (double)(i % 5)) : 0.05 * sin((double)i);
}
static inline double apart_12(int64_t i)
{
    return i % 144 / 12 == i % 12 ? sqrt(1 + (double)(i % 12)) : 0.02 * sin((double)i);
}
/* steps: 0, or 3, after which there is a power step; left, right: with their bases. */
#define SOAP(values, grad, steps, left, right, ...) \
    soap(g, (struct soap){ real_in(g, __VA_ARGS__), grad, real_in(g, __VA_ARGS__), positive_in(g, __VA_ARGS__), \
                           positive_in(g, values), positive_in(g, 2), real_count_in(g, SHAPE(1), steps), left, \
                           right }, \
         (struct soap_attr){ 0.9, 0.95, 0.8, 1e-3, 0.1, 1.5, 3 })
#define SIDE_OF(number, ...) real_of(g, number, __VA_ARGS__), real_in(g, __VA_ARGS__)
#define NO_SIDE NULL, NULL
#define FACTOR .power = 0.8, .tiny = 1e-30, .most = 1, .least = 1e-3, .beta1 = 0.9, .decay = 0.1, .rate = 1.5
#define ADAFACTOR(row, col, v, m, how, ...) ADAFACTOR_AT(1, row, col, v, m, how, __VA_ARGS__)
#define ADAFACTOR_AT(values, row, col, v, m, how, ...) \
    adafactor(g, real_in(g, __VA_ARGS__), real_in(g, __VA_ARGS__), positive_in(g, values), \
              real_count_in(g, SHAPE(1), third_step), positive_in(g, 2), row, col, v, m, \
              (struct adafactor_attr){ BARE how })
/* values: of lr; 3: with factors on decay and momentum */
#define LION(values, ...) LION_OF(real_in(g, __VA_ARGS__), values, __VA_ARGS__)
#define LION_OF(m, values, ...) \
    lion(g, real_in(g, __VA_ARGS__), real_in(g, __VA_ARGS__), m, positive_in(g, values), \
         positive_in(g, 2), (struct lion_attr){ 0.9, 0.99, 0.1, 1 })
#define SCHEDULE_FREE(power, ...) \
    schedule_free(g, real_in(g, __VA_ARGS__), real_in(g, __VA_ARGS__), real_in(g, __VA_ARGS__), \
                  real_in(g, __VA_ARGS__), positive_in(g, __VA_ARGS__), positive_in(g, 3), positive_in(g, 1), \
                  positive_in(g, 1), positive_in(g, 2), \
                  (struct schedule_free_attr){ 0.9, 0.95, 1e-8, 0.1, 1.5, power })
#define SGD(values, m, nesterov, coupled, ...) \
    sgd(g, real_in(g, __VA_ARGS__), real_in(g, __VA_ARGS__), positive_in(g, values), positive_in(g, 2), m, \
        (struct sgd_attr){ 0.9, 0.1, 0.5, nesterov, coupled })
#define BIAS_STEP(target, rule, centred, ...) \
    bias_step(g, real_in(g, __VA_ARGS__), positive_in(g, __VA_ARGS__), positive_in(g, 2), target, \
              (struct bias_step_attr){ 1e-3, -0.5, 0.5, rule, centred })
#define MUON_USUAL .momentum = 0.95, .decay = 0.1, .scale = 0.2, .nesterov = 1, .steps = 5
#define MUON(...) MUON_AS(NULL, NULL, (MUON_USUAL), __VA_ARGS__)
#define MUON_AS(v, radius, how, ...) MUON_AT(1, v, radius, how, __VA_ARGS__)
#define MUON_AT(values, v, radius, how, ...) \
    MUON_WITH(values, real_in(g, __VA_ARGS__), v, radius, how, __VA_ARGS__)
#define MUON_OF(m, v, radius, how, ...) MUON_WITH(1, m, v, radius, how, __VA_ARGS__)
#define MUON_WITH(values, m, v, radius, how, ...) \
    muon(g, real_in(g, __VA_ARGS__), real_in(g, __VA_ARGS__), m, positive_in(g, values), positive_in(g, 2), v, radius, \
         (struct muon_attr){ BARE how })
#define NORMUON(axis, v, ...) \
    MUON_AS(positive_in(g, v), NULL, (MUON_USUAL, .neurons = NEURONS_##axis, .beta2 = 0.9), __VA_ARGS__)

/* Sums of rows and columns are equal; or rows sum to so much at most, of values up to 1. */
#define TRANSPORT(groups, cycles, tolerance, column) \
    (struct transport_attr){ groups, cycles, 0, 1, column, 0, 1, tolerance }
#define CAPPED(groups, cycles, cap, column) \
    (struct transport_attr){ groups, cycles, 1, cap, column, 1, 0.1, 0 }
#define ASSIGN(groups, rounds) (struct assign_attr){ groups, rounds, 0.02 }

#define CLIP_HEADS(groups, heads, ...) \
    clip_heads(g, real_in(g, __VA_ARGS__), positive_in(g, heads), positive_in(g, 2), \
                                                  (struct clip_heads_attr){ 0.6, 0.5, groups })
#define UNIT_NORM(columns, ...) unit_norm(g, real_in(g, __VA_ARGS__), positive_in(g, 2), columns)
/* w: no values of bf16; key: its input, or NULL */
#define ROUND_WEIGHT(key, ...) \
    round_weight(g, positive_in(g, __VA_ARGS__), key, real_count_in(g, SHAPE(1), seven), positive_in(g, 2))
#define AMAX_HISTORY(steps) amax_history(g, positive_in(g, steps, 3), positive_in(g, 2), positive_in(g, 1), \
                                         real_count_in(g, SHAPE(1), seven), positive_in(g, 2))
#define AVERAGE_OF(rate, ...) average(g, real_in(g, __VA_ARGS__), real_in(g, __VA_ARGS__), positive_in(g, 2), rate)

/* Two sequences; a token of the second has its document's start after it. */
#define FORCED(experts, k, pattern, skew) \
    forced_key(g, int_in(g, SHAPE(2, 3), 5, 0, 7, 5, 0, 1), int_in(g, SHAPE(2, 3), 0, 0, 0, 0, 2, 2), NULL, \
               (struct forced_key_attr){ experts, k, pattern, 3, skew })

#define ROUTING_CASES(CASE) \
    CASE(topk, some, topk(g, real_in(g, 3, 5), 2)) \
    CASE(topk, one, topk(g, real_in(g, 3, 5), 1)) \
    CASE(topk, all, topk(g, real_in(g, 2, 3), 3)) \
    CASE(pick, some, pick(g, real_in(g, 3, 5), int_in(g, SHAPE(3, 2), 4, 0, 1, 2, 3, 1))) \
    CASE(pick, one, pick(g, real_in(g, 3, 5), int_in(g, SHAPE(3, 1), 4, 0, 4))) \
    CASE(pick, all, pick(g, real_in(g, 2, 3), int_in(g, SHAPE(2, 3), 2, 0, 1, 0, 1, 2))) \
    CASE(pick, twice, pick(g, real_in(g, 1, 3), int_in(g, SHAPE(1, 3), 2, 1, 2))) \
    CASE(threshold, some, threshold(g, real_in(g, 2, 5), int_in(g, SHAPE(2, 2), 4, 0, 3, 1))) \
    CASE(threshold, one, threshold(g, real_in(g, 3, 3), int_in(g, SHAPE(3, 1), 2, 0, 1))) \
    CASE(threshold, last_left, threshold(g, real_in(g, 1, 4), int_in(g, SHAPE(1, 3), 1, 3, 0))) \
    CASE(cv2, odd, cv2(g, real_in(g, 7))) \
    CASE(cv2, one, cv2(g, positive_in(g, 1))) \
    CASE(noise, normal, noise(g, real_in(g, 6, 5), int_in(g, SHAPE(2, 2), 7, -3, 1 << 30, -1), "a", NOISE_NORMAL)) \
    CASE(noise, uniform, noise(g, act_in(g, 4, 2, 3), int_in(g, SHAPE(4, 2), 1, 0, 0, 1, 1, 1, -7, 0), "b", \
                               NOISE_UNIFORM)) \
    CASE(noise, gumbel, noise(g, real_in(g, 3), int_in(g, SHAPE(1, 2), 7, -3), "a", NOISE_GUMBEL)) \
    CASE(scatter, some, scatter(g, real_in(g, 3, 2), int_in(g, SHAPE(3, 2), 4, 0, 1, 2, 3, 1), 5)) \
    CASE(scatter, holes, scatter(g, real_in(g, 3, 2), int_in(g, SHAPE(3, 2), 1, -1, -1, 4, 0, 1), 4)) \
    CASE(scatter, twice, scatter(g, real_in(g, 1, 3), int_in(g, SHAPE(1, 3), 2, 1, 2), 3)) \
    CASE(pick, holes, pick(g, real_in(g, 3, 5), int_in(g, SHAPE(3, 2), 4, -1, -1, -1, 5, 2))) \
    CASE(topk_columns, some, topk_columns(g, real_in(g, 6, 3), 2, 2)) \
    CASE(topk_columns, one, topk_columns(g, real_in(g, 4, 2), 1, 1)) \
    CASE(topk_columns, all, topk_columns(g, real_in(g, 4, 3), 2, 2)) \
    CASE(topk_columns, ties, topk_columns(g, real_count_in(g, SHAPE(8, 3), few_keys), 2, 2)) \
    CASE(transport, some, transport(g, real_in(g, 6, 3), TRANSPORT(2, 20, 0, 1))) \
    CASE(transport, one, transport(g, real_in(g, 3, 1), (struct transport_attr){ 1, 2, 0, 2, 6, 0, 1, 0 })) \
    CASE(transport, rests, transport(g, real_in(g, 4, 2), TRANSPORT(1, 100, 1e-3, 2))) \
    CASE(transport, capped, transport(g, positive_in(g, 8, 3), CAPPED(2, 30, 2, 2.5))) \
    CASE(assign, some, assign(g, real_in(g, 12, 3), ASSIGN(2, 100))) \
    CASE(assign, uneven, assign(g, real_in(g, 11, 4), ASSIGN(1, 100))) \
    CASE(assign, one, assign(g, real_in(g, 3, 1), ASSIGN(1, 5))) \
    CASE(assign, few, assign(g, real_in(g, 6, 5), ASSIGN(2, 100))) \
    CASE(assign, no_rounds, assign(g, real_in(g, 7, 3), ASSIGN(1, 0))) \
    CASE(assign, ties, assign(g, real_count_in(g, SHAPE(10, 3), few_keys), ASSIGN(1, 100))) \
    CASE(hash_ids, some, hash_ids(g, int_in(g, SHAPE(2, 3), 5, 0, 7, 8, 5, 1), 4, 2, 1)) \
    CASE(hash_ids, all, hash_ids(g, int_in(g, SHAPE(1, 3), 5, 0, 7), 6, 6, 2)) \
    CASE(hash_ids, one, hash_ids(g, int_in(g, SHAPE(1, 3), 5, 0, 7), 1, 1, 3)) \
    CASE(forced_key, random, FORCED(4, 2, FORCED_RANDOM, 0)) \
    CASE(forced_key, skewed, FORCED(7, 3, FORCED_RANDOM, 1.5)) \
    CASE(forced_key, uniform, FORCED(5, 2, FORCED_UNIFORM, 0)) \
    CASE(forced_key, constant, FORCED(3, 1, FORCED_CONSTANT, 0)) \
    CASE(drop_zero, some, drop_zero(g, int_in(g, SHAPE(3, 2), 4, 0, -1, 2, 3, 1), \
                                    real_count_in(g, SHAPE(3, 2), often_zero))) \
    CASE(drop_over_capacity, token, drop_over_capacity(g, int_in(g, SHAPE(4, 2), 1, 0, 1, 2, 0, 1, 1, 5), NULL, NULL, \
                                                       3, 2, 1, PRIORITY_TOKEN)) \
    CASE(drop_over_capacity, choice, drop_over_capacity(g, int_in(g, SHAPE(4, 2), 1, 0, 0, 2, -1, 1, 0, 1), NULL, \
                                                        NULL, 3, 1, 1, PRIORITY_CHOICE)) \
    CASE(drop_over_capacity, gate, drop_over_capacity(g, int_in(g, SHAPE(4, 2), 1, 0, 1, 2, 0, 1, 1, -1), \
                                                      real_in(g, 4, 2), NULL, 3, 1, 2, PRIORITY_GATE)) \
    CASE(drop_over_capacity, room, drop_over_capacity(g, int_in(g, SHAPE(4, 2), 1, 0, 1, 2, 0, 1, 1, -1), \
                                                      real_in(g, 4, 2), real_count_in(g, SHAPE(1), rate_one), 3, 1, \
                                                      2, PRIORITY_GATE)) \
    CASE(drop_over_capacity, rooms, drop_over_capacity(g, int_in(g, SHAPE(4, 2), 1, 0, 1, 2, 0, 1, 1, -1), \
                                                       real_in(g, 4, 2), real_count_in(g, SHAPE(3), rooms_of), 3, 1, \
                                                       4, PRIORITY_GATE)) \
    CASE(round_counts, down, round_counts(g, real_count_in(g, SHAPE(6), counts_of), 4, ROUND_DOWN)) \
    CASE(round_counts, up, round_counts(g, real_count_in(g, SHAPE(6), counts_of), 3, ROUND_UP)) \
    CASE(round_counts, nearest, round_counts(g, real_count_in(g, SHAPE(6), counts_of), 4, ROUND_NEAREST)) \
    CASE(drop_over_capacity, ties, drop_over_capacity(g, int_in(g, SHAPE(4, 2), 1, 0, 1, 2, 0, 1, 1, -1), \
                                                      real_count_in(g, SHAPE(4, 2), few_keys), NULL, 3, 1, 2, \
                                                      PRIORITY_GATE)) \
    CASE(merge_groups, pairs, merge_groups(g, real_in(g, 3, 3), int_in(g, SHAPE(3, 3), 0, 3, 1, 4, 2, 3, 5, 0, 2), 2)) \
    CASE(merge_groups, holes, merge_groups(g, real_in(g, 3, 3), int_in(g, SHAPE(3, 3), -1, 3, 2, 4, -1, 5, -1, -1, 0), \
                                           3)) \
    CASE(merge_groups, alone, merge_groups(g, real_in(g, 2, 2), int_in(g, SHAPE(2, 2), 1, 0, 2, 3), 1)) \
    CASE(load, integers, load(g, int_in(g, SHAPE(4), 3, 3, 2, 0))) \
    CASE(load, reals, load(g, positive_in(g, 5))) \
    CASE(count_chosen, one, count_chosen(g, int_in(g, SHAPE(3, 2), 1, 0, 1, 2, 0, 1), 3, 3, 1, false)) \
    CASE(count_chosen, parts, count_chosen(g, int_in(g, SHAPE(4, 3), 1, 0, 2, 2, -1, 3, 4, 0, 1, 3, 3, 9), 4, 2, 2, \
                                           false)) \
    CASE(count_chosen, once, count_chosen(g, int_in(g, SHAPE(4, 3), 1, 0, 2, 2, -1, 3, -1, -1, 4, 3, 3, 9), 4, 2, 2, \
                                          true)) \
    CASE(place_rows, first, place_rows(g, int_in(g, SHAPE(4, 2), 1, 0, 1, -1, 2, 0, 3, 1), int_in(g, SHAPE(1), 0), 3, \
                                       2)) \
    CASE(place_rows, later, place_rows(g, int_in(g, SHAPE(2, 3), 1, 0, 1, -1, 2, 0), int_in(g, SHAPE(1), 2), 4, 1)) \
    CASE(place_rows, behind, place_rows(g, int_in(g, SHAPE(4, 1), 1, 3, 1, -1), int_in(g, SHAPE(1), 2), 3, 2)) \
    CASE(dispatch, mixed, dispatch(g, int_in(g, SHAPE(3, 2), 1, 0, 1, 2, 0, 1), 3, 0)) \
    CASE(dispatch, empty, dispatch(g, int_in(g, SHAPE(4, 1), 2, 0, 2, 0), 5, 0)) \
    CASE(dispatch, same, dispatch(g, int_in(g, SHAPE(3, 1), 0, 0, 0), 1, 0)) \
    CASE(dispatch, holes, dispatch(g, int_in(g, SHAPE(3, 2), 1, -1, -1, 2, 0, 1), 4, 0)) \
    CASE(dispatch, nobody, dispatch(g, NOBODY(2, 2), 3, 0)) \
    CASE(dispatch, beyond, dispatch(g, int_in(g, SHAPE(3, 2), 1, 4, 5, 2, 0, 1), 4, 0)) \
    CASE(dispatch, bound, dispatch(g, int_in(g, SHAPE(3, 2), 1, -1, -1, 2, 0, 1), 4, 5)) \
    CASE(dispatch, full, dispatch(g, int_in(g, SHAPE(3, 2), 1, -1, 7, 2, 0, 1), 4, 4)) \
    CASE(gather, bound, gather(g, act_in(g, 3, 7), BOUND_ORDER, HOLES_INVERSE)) \
    CASE(combine, bound, combine(g, ragged_in(g, 4, 5, 7), BOUND_ORDER, HOLES_INVERSE, real_in(g, 3, 2))) \
    CASE(unpermute, bound, unpermute(g, ragged_in(g, 4, 5, 7), BOUND_ORDER, HOLES_INVERSE)) \
    CASE(combine, ragged, combine(g, ragged_in(g, 4, 6, 7), HOLES_ORDER, HOLES_INVERSE, real_in(g, 3, 2))) \
    CASE(unpermute, ragged, unpermute(g, ragged_in(g, 4, 6, 7), HOLES_ORDER, HOLES_INVERSE)) \
    CASE(combine, unwritten, combine(g, ragged_in(g, 0, 4, 3), NOBODY(4), NOBODY(2, 2), real_in(g, 2, 2))) \
    CASE(unpermute, unwritten, unpermute(g, ragged_in(g, 0, 4, 3), NOBODY(4), NOBODY(2, 2))) \
    CASE(gather, holes, gather(g, act_in(g, 3, 7), HOLES_ORDER, HOLES_INVERSE)) \
    CASE(gather, back, gather(g, act_in(g, 5, 7), int_in(g, SHAPE(6), 2, -1, 0, 3, -1, 1), \
                              int_in(g, SHAPE(5, 1), 2, 5, 0, 3, -1))) \
    CASE(gather, nobody, gather(g, act_in(g, 2, 3), NOBODY(4), NOBODY(2, 2))) \
    CASE(combine, holes, combine(g, act_in(g, 6, 7), HOLES_ORDER, HOLES_INVERSE, real_in(g, 3, 2))) \
    CASE(unpermute, holes, unpermute(g, act_in(g, 6, 7), HOLES_ORDER, HOLES_INVERSE)) \
    CASE(combine, nobody, combine(g, act_in(g, 4, 3), NOBODY(4), NOBODY(2, 2), real_in(g, 2, 2))) \
    CASE(unpermute, nobody, unpermute(g, act_in(g, 4, 3), NOBODY(4), NOBODY(2, 2))) \
    CASE(gather, mixed, gather(g, act_in(g, 3, 7), MIXED_ORDER, MIXED_INVERSE)) \
    CASE(gather, top_1, gather(g, act_in(g, 4, 3), TOP_1_ORDER, TOP_1_INVERSE)) \
    CASE(gather, all, gather(g, act_in(g, 2, 9), ALL_ORDER, ALL_INVERSE)) \
    CASE(gather, top_3, gather(g, act_in(g, 2, 3), TOP_3_ORDER, TOP_3_INVERSE)) \
    CASE(gather, top_5, gather(g, act_in(g, 2, 3), TOP_5_ORDER, TOP_5_INVERSE)) \
    CASE(gather, same, gather(g, real_in(g, 3, 1), SAME_ORDER, SAME_INVERSE)) \
    CASE(combine, mixed, combine(g, act_in(g, 6, 7), MIXED_ORDER, MIXED_INVERSE, real_in(g, 3, 2))) \
    CASE(unpermute, mixed, unpermute(g, act_in(g, 6, 7), MIXED_ORDER, MIXED_INVERSE)) \
    CASE(combine, top_1, combine(g, act_in(g, 4, 3), TOP_1_ORDER, TOP_1_INVERSE, real_in(g, 4, 1))) \
    CASE(unpermute, top_1, unpermute(g, act_in(g, 4, 3), TOP_1_ORDER, TOP_1_INVERSE)) \
    CASE(combine, all, combine(g, act_in(g, 4, 9), ALL_ORDER, ALL_INVERSE, real_in(g, 2, 2))) \
    CASE(unpermute, all, unpermute(g, act_in(g, 4, 9), ALL_ORDER, ALL_INVERSE)) \
    CASE(combine, top_3, combine(g, act_in(g, 6, 3), TOP_3_ORDER, TOP_3_INVERSE, real_in(g, 2, 3))) \
    CASE(unpermute, top_3, unpermute(g, act_in(g, 6, 3), TOP_3_ORDER, TOP_3_INVERSE)) \
    CASE(combine, top_5, combine(g, act_in(g, 10, 3), TOP_5_ORDER, TOP_5_INVERSE, real_in(g, 2, 5))) \
    CASE(unpermute, top_5, unpermute(g, act_in(g, 10, 3), TOP_5_ORDER, TOP_5_INVERSE)) \
    CASE(combine, same, combine(g, act_in(g, 3, 1), SAME_ORDER, SAME_INVERSE, real_in(g, 3, 1))) \
    CASE(unpermute, same, unpermute(g, act_in(g, 3, 1), SAME_ORDER, SAME_INVERSE)) \
    CASE(global_norm, three, global_norm(g, 3, (struct node *[]){ real_in(g, 3, 5), real_in(g, 1), \
                                                                  real_in(g, 2, 2, 3) })) \
    CASE(clip_norm, clips, clip_norm(g, positive_in(g, 1), NULL, 0.05)) \
    CASE(clip_norm, targets, clip_norm(g, positive_in(g, 1), positive_in(g, 1), 0.05)) \
    CASE(clip_norm, no_target, clip_norm(g, positive_in(g, 1), real_count_in(g, SHAPE(1), none_present), 0.05)) \
    CASE(skip_outliers, goes, SKIP_OUTLIERS(all_ones, nine, six)) \
    CASE(skip_outliers, skips, SKIP_OUTLIERS(all_ones, ninety, six)) \
    CASE(skip_outliers, early, SKIP_OUTLIERS(all_ones, ninety, all_ones)) \
    CASE(skip_outliers, wraps, SKIP_OUTLIERS(all_ones, nine, seven)) \
    CASE(skip_outliers, stopped, SKIP_OUTLIERS(none_present, ninety, six)) \
    CASE(adamw, vector, ADAMW(7)) \
    CASE(adamw, along, ADAMW_AS(NULL, (ADAM_USUAL, .along = 1), 3, 5)) \
    CASE(adamw, paced, ADAMW_AT(3, NULL, (ADAM_USUAL, .nesterov = 1), 7)) \
    CASE(adamw, paced_sphere, ADAMW_AT(3, positive_in(g, 1), (ADAM_USUAL), 5, 3)) \
    CASE(adamw, ahead, ADAMW_AS(NULL, (ADAM_USUAL, .nesterov = 1, .inside = 1, .cautious = 1, .lazy = 1), 3, 5)) \
    CASE(adamw, sphere, ADAMW_AS(positive_in(g, 2), (ADAM_USUAL), 2, 3, 5)) \
    CASE(adamw, amsgrad, ADAMW_OF(real_in(g, 13), positive_in(g, 13), positive_in(g, 13), NULL, (ADAM_USUAL), 13)) \
    CASE(adamw, masked, ADAMW_AS(NULL, (ADAM_USUAL, .masked = 1, .cautious = 1, .along = 1), 3, 4, 5)) \
    CASE(adamw, codes, ADAMW_OF(CODED(2), CODED(2), CODED(2), NULL, \
                                (ADAM_USUAL, .nesterov = 1, .lazy = 1, .along = 1), 20, 25)) \
    CASE(adamw, halves, ADAMW_OF(HALVES(500), HALVES(500), NULL, positive_in(g, 5), (ADAM_USUAL), 5, 4, 25)) \
    CASE(dion, tall, DION(2, 3, 5, 3)) \
    CASE(dion, paced, DION_AT(3, 2, 3, 5, 3)) \
    CASE(dion, stack, DION(3 * 2, 5, 3, 2, 5)) \
    CASE(soap, first, SOAP(1, real_of(g, apart_5, 5, 5), none_present, SIDE_OF(factor_5, 5, 5), \
                           SIDE_OF(factor_5, 5, 5), 5, 5)) \
    CASE(soap, power, SOAP(1, real_in(g, 2, 5, 5), third_step, SIDE_OF(factor_5, 2, 5, 5), SIDE_OF(factor_5, 2, 5, 5), \
                           2, 5, 5)) \
    CASE(soap, one_sided, SOAP(1, real_in(g, 5, 7), third_step, SIDE_OF(factor_5, 5, 5), NO_SIDE, 5, 7)) \
    CASE(soap, between, SOAP(1, real_in(g, 7, 5), seven, NO_SIDE, SIDE_OF(factor_5, 5, 5), 7, 5)) \
    CASE(soap, paced, SOAP(3, real_in(g, 7, 5), third_step, NO_SIDE, SIDE_OF(factor_5, 5, 5), 7, 5)) \
    CASE(soap, no_side, SOAP(1, real_in(g, 7, 5), seven, NO_SIDE, NO_SIDE, 7, 5)) \
    CASE(adafactor, vector, ADAFACTOR(NULL, NULL, positive_in(g, 7), NULL, (FACTOR, .relative = 1), 7)) \
    CASE(adafactor, stack, ADAFACTOR(positive_in(g, 6), positive_in(g, 10), NULL, real_in(g, 2, 3, 5), (FACTOR), \
                                     2, 3, 5)) \
    CASE(adafactor, paced, ADAFACTOR_AT(3, positive_in(g, 3), positive_in(g, 5), NULL, real_in(g, 3, 5), (FACTOR), \
                                        3, 5)) \
    CASE(lion, vector, LION(1, 7)) \
    CASE(lion, paced, LION(3, 7)) \
    CASE(lion, codes, LION_OF(CODED(2), 1, 20, 25)) \
    CASE(lion, halves, LION_OF(HALVES(500), 3, 5, 4, 25)) \
    CASE(schedule_free, vector, SCHEDULE_FREE(0, 7)) \
    CASE(sgd, paced, SGD(3, real_in(g, 7), 1, 1, 7)) \
    CASE(sgd, bare, SGD(1, NULL, 0, 0, 7)) \
    CASE(sgd, momentum, SGD(1, real_in(g, 7), 0, 1, 7)) \
    CASE(sgd, nesterov, SGD(1, real_in(g, 7), 1, 0, 7)) \
    CASE(sgd, codes, SGD(1, CODED(2), 1, 0, 20, 25)) \
    CASE(sgd, halves, SGD(3, HALVES(500), 0, 1, 5, 4, 25)) \
    CASE(muon, tall, MUON(5, 3)) \
    CASE(muon, paced, MUON_AT(3, NULL, NULL, (MUON_USUAL), 5, 3)) \
    CASE(muon, stack, MUON(3, 2, 5)) \
    CASE(muon, length, MUON_AS(NULL, NULL, (.momentum = 0.9, .decay = 0.1, .scale = 1), 2, 3, 5)) \
    CASE(muon, vector, MUON_AS(NULL, NULL, (.momentum = 0.9, .scale = 1), 7)) \
    CASE(muon, polar, MUON_AS(NULL, NULL, (MUON_USUAL, .quintics = QUINTIC_POLAR, .even = 1), 5, 3)) \
    CASE(muon, rows, NORMUON(ROW, 6, 2, 3, 5)) \
    CASE(muon, columns, NORMUON(SHORT, 10, 2, 3, 5)) \
    CASE(muon, snap, MUON_AS(NULL, NULL, (MUON_USUAL, .snap = 1, .cautious = 1), 2, 5, 3)) \
    CASE(muon, heads, MUON_AS(NULL, NULL, (MUON_USUAL, .heads = 3), 2, 6, 5)) \
    CASE(muon, codes, MUON_OF(CODED(12), NULL, NULL, (MUON_USUAL, .heads = 2), 3, 12, 50)) \
    CASE(muon, length_codes, MUON_OF(CODED(6), NULL, NULL, (.momentum = 0.9, .decay = 0.1, .scale = 1), 3, 20, 25)) \
    CASE(muon, vector_codes, MUON_OF(CODED(2), NULL, NULL, (.momentum = 0.9, .scale = 1), 300)) \
    CASE(muon, halves, MUON_OF(HALVES(90), NULL, NULL, (MUON_USUAL), 3, 5, 6)) \
    CASE(muon, sphere, MUON_AS(positive_in(g, 10), positive_in(g, 2), \
                               (MUON_USUAL, .neurons = NEURONS_SHORT, .beta2 = 0.9), 2, 5, 3)) \
    CASE(bias_step, sign, BIAS_STEP(NULL, BIAS_SIGN, false, 5)) \
    CASE(bias_step, centred, BIAS_STEP(NULL, BIAS_PROPORTIONAL, true, 5)) \
    CASE(bias_step, target, BIAS_STEP(positive_in(g, 3), BIAS_SIGN, false, 3)) \
    CASE(clip_heads, own, CLIP_HEADS(4, 4, 12, 5)) \
    CASE(clip_heads, shared, CLIP_HEADS(2, 6, 12, 7)) \
    CASE(unit_norm, rows, UNIT_NORM(false, 3, 7)) \
    CASE(unit_norm, columns, UNIT_NORM(true, 2, 5, 3)) \
    CASE(round_weight, nearest, ROUND_WEIGHT(NULL, 7)) \
    CASE(round_weight, stochastic, ROUND_WEIGHT(positive_in(g, 2), 3, 7)) \
    CASE(gradient_amax, odd, gradient_amax(g, act_in(g, 3, 7))) \
    CASE(gradient_amax, one, gradient_amax(g, real_in(g, 1))) \
    CASE(amax_history, wraps, AMAX_HISTORY(4)) \
    CASE(amax_history, one, AMAX_HISTORY(1)) \
    CASE(average, vector, AVERAGE_OF(positive_in(g, 1), 7)) \
    CASE(average, copy, AVERAGE_OF(real_count_in(g, SHAPE(1), rate_one), 3, 5)) \
    CASE(update_ratio, two, update_ratio(g, 2, (struct node *[]){ positive_in(g, 3), positive_in(g, 3) }))

#define ROUTING_LARGE_CASES(CASE) \
    CASE(topk, large, topk(g, real_in(g, 700, 37), 5)) \
    CASE(topk, many, topk(g, real_in(g, 333, 70), 8)) \
    CASE(pick, large, pick(g, real_in(g, 700, 37), count_in(g, SHAPE(700, 5), large_index))) \
    CASE(scatter, large, scatter(g, real_in(g, 1000, 3), count_in(g, SHAPE(1000, 3), holes_choice), 70)) \
    CASE(threshold, large, threshold(g, real_in(g, 700, 37), count_in(g, SHAPE(700, 5), large_index))) \
    CASE(threshold, ties, threshold(g, real_count_in(g, SHAPE(300, 70), large_choice), \
                                    count_in(g, SHAPE(300, 4), large_index))) \
    CASE(cv2, large, cv2(g, positive_in(g, 300))) \
    CASE(noise, large, noise(g, real_in(g, 600, 133), count_in(g, SHAPE(3, 2), large_index), "a", NOISE_NORMAL)) \
    CASE(noise, large_uniform, noise(g, real_in(g, 210, 260), count_in(g, SHAPE(7, 2), large_index), "b", \
                                     NOISE_UNIFORM)) \
    CASE(noise, large_gumbel, noise(g, real_in(g, 300, 64), count_in(g, SHAPE(2, 2), large_index), "c", NOISE_GUMBEL)) \
    CASE(dispatch, large, dispatch(g, count_in(g, SHAPE(5000, 3), large_choice), 11, 0)) \
    CASE(gather, large, gather(g, act_in(g, 300, 33), count_in(g, SHAPE(1200), large_order), \
                               count_in(g, SHAPE(300, 4), large_inverse))) \
    CASE(combine, large, combine(g, act_in(g, 1200, 33), count_in(g, SHAPE(1200), large_order), \
                                 count_in(g, SHAPE(300, 4), large_inverse), \
                                 real_in(g, 300, 4))) \
    CASE(unpermute, large, unpermute(g, act_in(g, 1200, 33), count_in(g, SHAPE(1200), large_order), \
                                   count_in(g, SHAPE(300, 4), large_inverse))) \
    CASE(dispatch, large_holes, dispatch(g, count_in(g, SHAPE(5000, 3), holes_choice), 11, 0)) \
    CASE(dispatch, large_nobody, dispatch(g, count_in(g, SHAPE(1500, 1), nobody), 5, 0)) \
    CASE(gather, large_holes, gather(g, act_in(g, 300, 33), count_in(g, SHAPE(1200), holes_order), \
                                     count_in(g, SHAPE(300, 4), holes_inverse))) \
    CASE(gather, large_back, gather(g, act_in(g, 1200, 33), count_in(g, SHAPE(1200), holes_inverse), \
                                    count_in(g, SHAPE(1200, 1), holes_order))) \
    CASE(combine, large_holes, combine(g, act_in(g, 1200, 33), count_in(g, SHAPE(1200), holes_order), \
                                       count_in(g, SHAPE(300, 4), holes_inverse), \
                                       real_in(g, 300, 4))) \
    CASE(unpermute, large_holes, unpermute(g, act_in(g, 1200, 33), count_in(g, SHAPE(1200), holes_order), \
                                         count_in(g, SHAPE(300, 4), holes_inverse))) \
    CASE(combine, large_ragged, combine(g, ragged_in(g, 800, 1000, 33), count_in(g, SHAPE(1000), holes_order), \
                                        count_in(g, SHAPE(300, 4), holes_inverse), real_in(g, 300, 4))) \
    CASE(unpermute, large_ragged, unpermute(g, ragged_in(g, 800, 1000, 33), count_in(g, SHAPE(1000), holes_order), \
                                          count_in(g, SHAPE(300, 4), holes_inverse))) \
    CASE(dispatch, large_bound, dispatch(g, count_in(g, SHAPE(5000, 3), choice_and_beyond), 11, 12000)) \
    CASE(count_chosen, large, count_chosen(g, count_in(g, SHAPE(5000, 3), choice_and_beyond), 12, 4, 5, false)) \
    CASE(count_chosen, large_once, count_chosen(g, count_in(g, SHAPE(5000, 3), choice_and_beyond), 12, 6, 1, true)) \
    CASE(place_rows, large, place_rows(g, count_in(g, SHAPE(5000, 3), choice_and_beyond), int_in(g, SHAPE(1), 7), 12, \
                                       1000)) \
    CASE(topk_columns, large, topk_columns(g, real_in(g, 1500, 37), 3, 45)) \
    CASE(topk_columns, large_ties, topk_columns(g, real_count_in(g, SHAPE(4500, 19), few_keys), 1, 1000)) \
    CASE(topk_columns, every, topk_columns(g, real_in(g, 1500, 5), 1, 1500)) \
    CASE(merge_groups, large, merge_groups(g, real_in(g, 5000, 3), count_in(g, SHAPE(5000, 3), holes_choice), 4)) \
    CASE(transport, large, transport(g, real_in(g, 1500, 37), TRANSPORT(3, 12, 0, 500 / 37.0))) \
    CASE(transport, large_rests, transport(g, real_in(g, 1500, 70), TRANSPORT(1, 100, 1e-2, 1500 / 70.0))) \
    CASE(transport, large_capped, transport(g, positive_in(g, 700, 37), CAPPED(2, 8, 3, 25))) \
    CASE(assign, large, assign(g, real_in(g, 1500, 37), ASSIGN(3, 1000))) \
    CASE(assign, large_one, assign(g, real_in(g, 1100, 12), ASSIGN(1, 40))) \
    CASE(assign, large_ties, assign(g, real_count_in(g, SHAPE(900, 19), few_keys), ASSIGN(1, 1000))) \
    CASE(hash_ids, large, hash_ids(g, count_in(g, SHAPE(3, 1001), many_ids), 60, 7, 4)) \
    CASE(forced_key, large, forced_key(g, count_in(g, SHAPE(3, 1001), many_ids), count_in(g, SHAPE(3, 1001), nothing), \
                                       int_in(g, SHAPE(1), 17), \
                                       (struct forced_key_attr){ 61, 6, FORCED_RANDOM, 2, 0.7 })) \
    CASE(forced_key, large_uniform, forced_key(g, count_in(g, SHAPE(3, 1001), many_ids), \
                                               count_in(g, SHAPE(3, 1001), nothing), int_in(g, SHAPE(1), 17), \
                                               (struct forced_key_attr){ 61, 6, FORCED_UNIFORM, 2, 0 })) \
    CASE(drop_zero, large, drop_zero(g, count_in(g, SHAPE(3001, 3), large_choice), \
                                     real_count_in(g, SHAPE(3001, 3), often_zero))) \
    CASE(drop_over_capacity, large_token, drop_over_capacity(g, count_in(g, SHAPE(5000, 3), choice_and_beyond), NULL, \
                                                             NULL, 11, 5, 220, PRIORITY_TOKEN)) \
    CASE(drop_over_capacity, large_choice, drop_over_capacity(g, count_in(g, SHAPE(5000, 3), choice_and_beyond), NULL, \
                                                              real_count_in(g, SHAPE(1), room_now), 11, 1, 1000, \
                                                              PRIORITY_CHOICE)) \
    CASE(drop_over_capacity, large_gate, drop_over_capacity(g, count_in(g, SHAPE(5000, 3), choice_and_beyond), \
                                                            real_in(g, 5000, 3), NULL, 11, 5, 220, \
                                                            PRIORITY_GATE)) \
    CASE(drop_over_capacity, large_rooms, drop_over_capacity(g, count_in(g, SHAPE(5000, 3), choice_and_beyond), \
                                                             real_in(g, 5000, 3), \
                                                             real_count_in(g, SHAPE(70), rooms_of), 70, 1, 5000, \
                                                             PRIORITY_GATE)) \
    CASE(round_counts, large, round_counts(g, real_count_in(g, SHAPE(3001), counts_of), 128, ROUND_NEAREST)) \
    CASE(drop_over_capacity, large_ties, drop_over_capacity(g, count_in(g, SHAPE(700, 4), large_inverse), \
                                                            real_count_in(g, SHAPE(700, 4), few_keys), NULL, 70, 2, \
                                                            12, PRIORITY_GATE)) \
    CASE(global_norm, large, global_norm(g, 3, (struct node *[]){ real_in(g, 1000, 70), real_in(g, 5), \
                                                                  real_in(g, 3, 300, 80) })) \
    CASE(adamw, large, ADAMW(300, 133)) \
    CASE(adamw, large_sphere, ADAMW_AS(positive_in(g, 3), (ADAM_USUAL, .nesterov = 1), 3, 130, 97)) \
    CASE(adamw, large_amsgrad, ADAMW_OF(real_in(g, 300, 133), positive_in(g, 300, 133), positive_in(g, 300, 133), \
                                        NULL, (ADAM_USUAL), 300, 133)) \
    CASE(adamw, large_masked, ADAMW_AS(positive_in(g, 3), (ADAM_USUAL, .masked = 1), 3, 130, 97)) \
    CASE(adamw, large_codes, ADAMW_OF(CODED(156), CODED(156), NULL, NULL, (ADAM_USUAL, .cautious = 1), 300, 133)) \
    CASE(adamw, large_halves, ADAMW_OF(HALVES(39900), HALVES(39900), HALVES(39900), NULL, (ADAM_USUAL), 300, 133)) \
    CASE(dion, large, DION(30, 97, 130, 97)) \
    CASE(dion, large_stack, DION(35 * 4, 9, 35, 12, 9)) \
    CASE(soap, large_first, SOAP(1, real_of(g, apart_12, 3, 12, 12), none_present, SIDE_OF(factor_12, 3, 12, 12), \
                                 SIDE_OF(factor_12, 3, 12, 12), 3, 12, 12)) \
    CASE(soap, large_power, SOAP(1, real_in(g, 12, 900), third_step, SIDE_OF(factor_12, 12, 12), NO_SIDE, 12, 900)) \
    CASE(adafactor, large, ADAFACTOR(positive_in(g, 3 * 130), positive_in(g, 3 * 97), NULL, NULL, \
                                     (FACTOR, .relative = 1), 3, 130, 97)) \
    CASE(lion, large, LION(1, 300, 133)) \
    CASE(schedule_free, large, SCHEDULE_FREE(1, 300, 133)) \
    CASE(sgd, large, SGD(1, real_in(g, 300, 133), 1, 1, 300, 133)) \
    CASE(muon, large, MUON(130, 70)) \
    CASE(muon, large_stack, MUON(35, 12, 9)) \
    CASE(muon, large_codes, MUON_OF(CODED(35 * 3), NULL, NULL, (MUON_USUAL), 35, 30, 20)) \
    CASE(muon, large_rows, NORMUON(ROW, 35 * 12, 35, 12, 9)) \
    CASE(muon, large_columns, NORMUON(SHORT, 3 * 300, 3, 60, 300)) \
    CASE(muon, large_sphere, MUON_AS(NULL, positive_in(g, 1), \
                                     (MUON_USUAL, .quintics = QUINTIC_POLAR, .even = 1, .snap = 1), 130, 97)) \
    CASE(topk, thousand, topk(g, real_in(g, 9, 1000), 40)) \
    CASE(dispatch, thousand, dispatch(g, count_in(g, SHAPE(800, 4), large_inverse), 1200, 0)) \
    CASE(dispatch, crowded, dispatch(g, count_in(g, SHAPE(1500, 1), large_crowd), 5, 0)) \
    CASE(gather, wide, gather(g, act_in(g, 30, 520), count_in(g, SHAPE(120), wide_order), \
                              count_in(g, SHAPE(30, 4), wide_inverse))) \
    CASE(combine, wide, combine(g, act_in(g, 120, 520), count_in(g, SHAPE(120), wide_order), \
                                count_in(g, SHAPE(30, 4), wide_inverse), real_in(g, 30, 4))) \
    CASE(unpermute, wide, unpermute(g, act_in(g, 120, 520), count_in(g, SHAPE(120), wide_order), \
                                  count_in(g, SHAPE(30, 4), wide_inverse))) \
    CASE(bias_step, many, BIAS_STEP(NULL, BIAS_SIGN, true, 70)) \
    CASE(unit_norm, large_rows, UNIT_NORM(false, 3, 270, 301)) \
    CASE(unit_norm, large_columns, UNIT_NORM(true, 3, 270, 301)) \
    CASE(clip_heads, large, CLIP_HEADS(9, 27, 270, 301)) \
    CASE(clip_heads, many, CLIP_HEADS(300, 300, 600, 7)) \
    CASE(round_weight, large, ROUND_WEIGHT(positive_in(g, 2), 300, 133)) \
    CASE(gradient_amax, large, gradient_amax(g, act_in(g, 301, 133))) \
    CASE(amax_history, many, AMAX_HISTORY(300)) \
    CASE(average, large, AVERAGE_OF(positive_in(g, 1), 300, 133))
