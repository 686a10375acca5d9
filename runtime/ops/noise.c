/* Noise: number c of the row at position s of a sequence is word c % 4 of Philox at index (s << 32) + c / 4 and step
   `name`, under the key of the sequence. So it is the same however the batch is cut, and however wide the row is. */
#define VERBS "graph/ops/routing.h"
#include "op.h"
#include "base/draw.h"
#include "cpu/vec_math.h"

enum { DRAWS = 16, STRIP = 4 * DRAWS };                     /* columns that are made at a time */

VERB struct node *noise(struct graph *g, struct node *like, struct node *key, const char *name, enum noise_kind kind)
{
    struct noise_attr a = { hash_name(name), kind, like->shape.rank, { 0 } };
    memcpy(a.dim, like->shape.dim, (size_t)like->shape.rank * sizeof *a.dim);
    return graph_emit(g, &op_noise, &a, key);
}

static int infer(struct node *n, struct err *e)
{
    const struct noise_attr *at = n->attr;
    struct shape key = n->in[0]->shape, shape = { .rank = (int)at->rank };
    memcpy(shape.dim, at->dim, sizeof shape.dim);
    if (shape.dim[0] % key.dim[0] != 0)
        return err_set(e, "%lld rows cannot be those of %lld sequences", (long long)shape.dim[0],
                       (long long)key.dim[0]);
    node_value(n, DTYPE_REAL, shape);
    return 0;
}

/* Columns [4 first, 4 first + n) of a row. */
static inline __attribute__((always_inline)) void
strip(enum noise_kind kind, uint64_t key, uint64_t name, uint64_t first, int64_t n, real *restrict to)
{
    float x[4][DRAWS];
    int draws = (int)((n + 3) / 4);
    for (int i = 0; i < draws; i++) {
        float four[4];
        draw_noise(kind, draw_bits(key, first + (uint64_t)i, name), four);
        for (int w = 0; w < 4; w++) x[w][i] = four[w];
    }
    for (int64_t c = 0; c < n; c++) to[c] = (real)x[c % 4][c / 4];
}

static void rows(const struct args *a, int64_t from, int64_t to)
{
    const struct noise_attr *at = a->attr;
    int64_t all = a->out[0].shape.dim[0], columns = shape_count(a->out[0].shape) / all,
            positions = all / a->in[0].shape.dim[0];
    for (int64_t r = from; r < to; r++) {
        const uint32_t *word = (const uint32_t *)a->in[0].data + r / positions * 2;
        uint64_t key = (uint64_t)word[1] << 32 | word[0], position = (uint64_t)(r % positions) << 32;
        for (int64_t c = 0; c < columns; c += STRIP) {
            int64_t n = columns - c < STRIP ? columns - c : STRIP;
            uint64_t first = position | (uint64_t)c / 4;
            real *y = reals(&a->out[0]) + r * columns + c;
            switch ((enum noise_kind)at->kind) {            /* each a loop of its own, in vectors */
            case NOISE_NORMAL:  strip(NOISE_NORMAL, key, at->name, first, n, y); break;
            case NOISE_UNIFORM: strip(NOISE_UNIFORM, key, at->name, first, n, y); break;
            case NOISE_GUMBEL:  strip(NOISE_GUMBEL, key, at->name, first, n, y); break;
            }
        }
    }
}

static void forward(const struct args *a)
{
    int64_t all = a->out[0].shape.dim[0];
    each(a, all, rows_grain(shape_count(a->out[0].shape) / all), rows);
}

KERNELS(noise) = { forward, NULL, NULL };

ATTRIBUTES(noise, struct noise_attr,
    INT(struct noise_attr, name, NEEDED, -HUGE_VAL, HUGE_VAL, "", "hash of what the numbers are for"),
    CHOICE(struct noise_attr, kind, NEEDED, "normal uniform gumbel", "how they are distributed"),
    INT(struct noise_attr, rank, NEEDED, 1, SHAPE_RANK, "", "of the result"),
    { "dim0", PARAM_INT, FIELD(struct noise_attr, dim[0]), 0, 0, INT32_MAX, NULL, "", "its extents", 0, NULL, false },
    { "dim1", PARAM_INT, FIELD(struct noise_attr, dim[1]), 0, 0, INT32_MAX, NULL, "", "its extents", 0, NULL, false },
    { "dim2", PARAM_INT, FIELD(struct noise_attr, dim[2]), 0, 0, INT32_MAX, NULL, "", "its extents", 0, NULL, false },
    { "dim3", PARAM_INT, FIELD(struct noise_attr, dim[3]), 0, 0, INT32_MAX, NULL, "", "its extents", 0, NULL, false });
OP(noise, .inputs = "key:I32[B,2]",
   .outputs = "y:REAL",
   .about = "random numbers, a function of key (of each sequence its own), position, column and name; no gradient",
   ATTR(noise), .infer = infer, .cheap = true);
