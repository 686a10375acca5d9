/* CUDA side of runtime/ops/kl_rows.c. Bound by memory: both rows are read once, and stay in registers. */
#include "row.cuh"

enum { SCORE, MASS };

/* Of a row: the sum of its masses, its largest score, and the sum of e^(score - largest). */
struct sums { float mass, exp, top; };

static __device__ inline float raised(float score, float top) { return score == -INFINITY ? 0 : __expf(score - top); }

template <bool HELD>
static __device__ inline struct sums sums_of(const struct row<HELD> &score, const struct row<HELD> &mass, int lanes)
{
    struct sums s = { 0, 0, -INFINITY };
    for (int p = 0; p < score.pieces(); p++) {
        struct eight z = score.piece(p), m = mass.piece(p);
        for (int l = 0; l < LANES; l++) s.mass += m.v[l], s.top = fmaxf(s.top, z.v[l]);
    }
    s.mass = row_sum(s.mass, lanes);
    s.top = row_top(s.top, lanes);
    for (int p = 0; p < score.pieces(); p++) {
        struct eight z = score.piece(p);
        for (int l = 0; l < LANES; l++) s.exp += raised(z.v[l], s.top);
    }
    s.exp = row_sum(s.exp, lanes);
    return s;
}

template <bool HELD> ROWS_KERNEL kl_rows_forward(struct rows r, struct view score, struct view mass, float *y)
{
    for (struct walk w = first_row(r); w.first < r.n; next_row(&w, r)) {
        struct row<HELD> of_score(score, w, r, -INFINITY), of_mass(mass, w, r);
        struct sums s = sums_of(of_score, of_mass, r.lanes);
        float kl = 0, rest = s.mass > 0 ? logf(s.mass) - logf(s.exp) : 0;
        for (int p = 0; p < of_score.pieces(); p++) {
            struct eight z = of_score.piece(p), m = of_mass.piece(p);
            for (int l = 0; l < LANES; l++)
                kl += m.v[l] > 0 ? m.v[l] * (logf(m.v[l]) - (z.v[l] - s.top) - rest) : 0;
        }
        kl = row_sum(kl, r.lanes);
        if (w.lane == 0 && w.d) y[w.row] = s.mass > 0 ? divide(kl, s.mass) : s.mass;
    }
}

/* dscore = (q - p) dy, over one denominator: a row of one entry, where both are 1, has a gradient of exactly 0.
   Products are rounded alone, for a fused difference would leave the rounding of one. */
static __device__ inline float slope(float e, float mass, const struct sums *s)
{
    return s->mass > 0 ? divide(__fmul_rn(e, s->mass) - __fmul_rn(mass, s->exp), s->exp * s->mass) : 0;
}

template <bool HELD>
ROWS_KERNEL kl_rows_backward(struct rows r, struct view score, struct view mass, const float *dy, struct sum dscore)
{
    for (struct walk w = first_row(r); w.first < r.n; next_row(&w, r)) {
        struct row<HELD> of_score(score, w, r, -INFINITY), of_mass(mass, w, r);
        struct sums s = sums_of(of_score, of_mass, r.lanes);
        float by = w.d ? dy[w.row] : 0;
        for (int p = 0; p < of_score.pieces(); p++) {
            struct eight g = of_score.piece(p), m = of_mass.piece(p);
            for (int l = 0; l < LANES; l++) g.v[l] = by * slope(raised(g.v[l], s.top), m.v[l], &s);
            row_add(dscore, of_score.at, of_score.column(p), w.d, g);
        }
    }
}

static void forward(const struct args *a)
{
    LAUNCH_ROWS(a, kl_rows_forward, rows_of(a->in[SCORE].shape), view_of(a->in[SCORE]), view_of(a->in[MASS]),
                reals(&a->out[0]));
}

static void backward(const struct args *a)
{
    if (a->din[SCORE].data)
        LAUNCH_ROWS(a, kl_rows_backward, rows_of(a->in[SCORE].shape), view_of(a->in[SCORE]), view_of(a->in[MASS]),
                    reals(&a->dout[0]), sum_of(a, SCORE));
}

TWIN(kl_rows, forward, backward);
