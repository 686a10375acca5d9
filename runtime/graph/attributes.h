/* What ops know beside their inputs, as scripts of modules and kernels see it. No padding: attributes are hashed. */
#ifndef SLUICE_ATTRIBUTES_H
#define SLUICE_ATTRIBUTES_H

#include <stdbool.h>
#include <stdint.h>

enum rope_where { ROPE_FIRST, ROPE_LAST, ROPE_PROPORTIONAL };
/* Of op rope. width: values of a head that rotate; factor: what frequencies are divided by, from pair `high` on; up to
   `low` they are as they are, between evenly in between; amplitude: of what is rotated. */
struct rope_attr { int64_t width, where, interleaved; double base, factor, low, high, amplitude; };
enum hash_kind { HASH_MUL32, HASH_MOD, HASH_XOR };
enum { NGRAM_MOST = 4 };                                    /* tokens whose factors HASH_XOR has */
/* Of op ngram. hash: enum hash_kind; pad: the token that stands before a document; by0 ..: of HASH_XOR the factor on
   each token of a gram, that of the last token first. */
struct ngram_attr { int64_t order, vocab, rows, hash, pad, by0, by1, by2, by3; };
/* Whose pairs an expert takes first: token's after token's; all first choices, then all second ones; largest gates. */
enum priority { PRIORITY_TOKEN, PRIORITY_CHOICE, PRIORITY_GATE };
/* Of transport, a plan whose columns sum to `column`, rows to `row`, or with `capped` at most to that, with no value
   above `most` (0: any); groups of rows each have a plan. */
struct transport_attr {
    int64_t groups, iterations, capped;
    double row, column, most, temperature, tolerance;
};
struct assign_attr { int64_t groups, rounds; double eps; };
/* Of a count, to a multiple of a tile. */
enum rounding { ROUND_DOWN, ROUND_UP, ROUND_NEAREST };
enum forced { FORCED_RANDOM, FORCED_UNIFORM, FORCED_CONSTANT };
struct forced_key_attr { int64_t experts, k, pattern, seed; double skew; };       /* pattern: enum forced */
struct elementwise_attr { double p, q; };
struct noise_attr { uint64_t name; int64_t kind, rank, dim[4]; };         /* enum noise_kind; the shape */

/* What attention takes: k and v of the sequence or of caches; pos, sink, rel and index may be absent, and v where the
   first `values` columns of a key are its value. window, chunk, softcap 0: none; block: see block_topk, 0: an index
   names single keys. */
struct node;
struct attention {
    struct node *q, *k, *v, *start, *pos, *sink, *rel, *index;
    double scale;
    int64_t window, chunk, values, block;
    double softcap;
};
struct attention_attr { double scale, softcap; int64_t window, chunk, values, block; };
enum { HEAD_WIDEST = 1024 };                                /* keys and values */

struct head_matmul_attr { int64_t transposed; };

#define FP8_FORMATS "none e4m3 e5m2"                        /* enum fp8_format */
/* Who shares a scale: 128 values along the sum, of weights 128 x 128; all of a tensor; the same, by what the largest
   value was in steps before. */
enum fp8_scaling { FP8_TILE, FP8_TENSOR, FP8_DELAYED };
/* Of fp8_matmul. forward, gradient: formats of x and w, and of the gradient of y; power: scales are powers of two. */
struct fp8_attr { int64_t forward, gradient, scaling, power; };

/* Of nf4_matmul: a matrix is [n,k], 0 experts: there is one; kept: enum kept_as. */
struct nf4_attr { int64_t n, k, experts, kept; };

/* What index_topk takes; pos and count may be absent. window, chunk: as attention's. pool: keys are windows of so many
   tokens that pool_windows made, 0: tokens. */
struct index_topk { struct node *q, *k, *w, *start, *pos, *count; int64_t chosen, window, chunk, pool; bool relu; };
struct index_topk_attr { int64_t chosen, window, chunk, pool, relu; };
/* What block_topk takes; pos may be absent. block: keys of each, counted from where a document begins. */
struct block_topk { struct node *q, *k, *start, *pos; int64_t chosen, block, window, chunk; };
struct block_topk_attr { int64_t chosen, block, window, chunk; };
enum { INDEX_MOST = 4096 };                                 /* keys that an index may name for a token */

/* Of the optimizers. rate multiplies lr; what else is meant stands where each op is. */
struct adamw_attr { double beta1, beta2, eps, decay, rate; int64_t nesterov, inside, cautious, lazy, masked, along; };
/* How an optimizer remembers n values: as REAL of the weight's shape; as bf16, U8 [n,2]; as codes of 8 bits
   (backend/codes.h), U8 [blocks,MOMENT_BYTES], of each block the largest, a float, and then a code for each value. */
enum moment_as { MOMENT_FLOAT, MOMENT_BF16, MOMENT_INT8 };
#define MOMENTS "float bf16 int8"
enum { MOMENT_BLOCK = 256, MOMENT_LARGEST = 4, MOMENT_BYTES = MOMENT_LARGEST + MOMENT_BLOCK };
struct adafactor_attr { double power, tiny, most, least, beta1, decay, rate; int64_t relative; };
struct lion_attr { double beta1, beta2, decay, rate; };
struct schedule_free_attr { double beta1, beta2, eps, decay, rate, power; };
struct sgd_attr { double momentum, decay, rate; int nesterov, coupled; };
/* What of a matrix has a size of its own: nothing; its rows; its rows or columns, whichever are fewer values long. */
enum neurons { NEURONS_NONE, NEURONS_ROW, NEURONS_SHORT };
/* Polynomials of Newton-Schulz steps, as backend/quintic.h has them. */
enum quintics { QUINTIC_JORDAN, QUINTIC_TUNED, QUINTIC_POLAR, QUINTIC_EXACT };
#define QUINTICS "jordan tuned polar exact"
struct muon_attr {
    double momentum, decay, scale;
    int64_t nesterov, steps, quintics, even, neurons, snap, cautious;
    double beta2;
    int64_t heads;
};
struct dion_attr { double momentum, decay, scale; };
/* What soap takes. left, right: Shampoo's factors; with each its basis, whose rows are eigenvectors; absent where that
   side is not rotated. taken: how many steps counted so far. */
struct soap { struct node *w, *grad, *m, *v, *lr, *clip, *taken, *left, *left_basis, *right, *right_basis; };
struct soap_attr { double beta1, beta2, factor_beta, eps, decay, rate; int64_t every; };

/* What a bias goes by: the sign of what its expert lacks, or how much of the mean; centred: steps sum to 0. */
enum bias_rule { BIAS_SIGN, BIAS_PROPORTIONAL };
struct bias_step_attr { double rate, low, high; int64_t rule, centred; };

/* a weight's rows in so many groups, in the order of heads */
struct clip_heads_attr { double limit, power; int64_t groups; };
/* The inputs of op delta_rule: q, k [T,H,N], v [T,HV,M], g REAL [T,HV] or [T,HV,N], beta REAL [T,HV], and in decoding
   pos and state REAL [B,R,HV,N*M], a ring of the states after the last R positions. */
struct delta_rule { struct node *q, *k, *v, *g, *beta, *start, *pos, *state; double scale; int delta; int64_t chunk; };
struct delta_rule_attr { double scale; int64_t delta, chunk; };

/* What kernels of both backends read of the other ops; what each field means stands in the op's ATTRIBUTES. */
struct carry_attr { int64_t how; };
struct choose_nodes_attr { int64_t experts, nodes, most; };
struct clip_norm_attr { double most; };
struct collision_rate_attr { int64_t order; };
struct columns_attr { int64_t from, n; };
struct conv1d_attr { int64_t dilation, silu; };
struct count_chosen_attr { int64_t experts, parts, groups, once; };
struct cross_entropy_attr { double softcap; };
struct drop_over_capacity_attr { int64_t experts, groups, capacity, first; };
struct exchange_counts_attr { int64_t over, ranks, rows; };
struct hash_ids_attr { int64_t experts, k; uint64_t seed; };
struct join_pooled_attr { int64_t window, m; };
struct l2norm_attr { double eps; };
struct mask_rows_attr { double value; };
struct merge_groups_attr { int64_t size; };
struct normalize_attr { double eps; };
struct outside_attr { double low, high; };
struct over_attr { int64_t over, ranks; };
struct own_part_attr { int64_t over, ranks, dim; };
struct place_copies_attr { int64_t experts, nodes, ranks, spare; };
struct place_rows_attr { int64_t sequences, length; };
struct pool_windows_attr { int64_t m, overlap; };
struct positions_attr { int64_t length, whole; };
struct rmsnorm_attr { double eps; int64_t zero_centred; };
struct round_counts_attr { int64_t tile, how; };
struct shift_attr { int64_t by; };
struct sinkhorn_attr { double eps; int64_t iterations; };
struct skip_outliers_attr { double sigma; };
struct spectral_attr { int64_t iterations; };
struct sum_by_position_attr { int64_t n, length; };
struct topk_columns_attr { int64_t groups, c; };
struct unit_norm_attr { int64_t columns; };
struct with_copies_attr { int64_t over, ranks, spare; };

#endif
