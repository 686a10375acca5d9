/* What of each head x stands at right angles to a vector of its group: y = x - by c v with c = x.v / max(v.v, FLOOR).
   Memory bounds it: x, v and dy are read once and y, dx and dv written once. Lanes that share a row of v walk through
   the heads that share it, so that dv is one sum in one order; a lane holds eight values, for heads are no wider than
   1024. */
#include "row.cuh"

enum { X, V, BY };
static const float FLOOR = 1e-8f;

static __device__ inline float product(const struct eight &u, const struct eight &v, int lanes)
{
    float sum = 0;
    for (int l = 0; l < LANES; l++) sum += u.v[l] * v.v[l];
    return row_sum(sum, lanes);
}

/* Head h of those that share the vector that w walks at. */
static __device__ inline struct walk head_of(const struct walk &w, int share, int h)
{
    return { w.first, w.row * share + h, w.lane, w.d };
}

static __device__ inline float factor_of(struct view by, const struct walk &head)
{
    return by.data && head.d ? load(by, head.row) : 1;
}

static __global__ void __launch_bounds__(BLOCK)
reject_forward(struct rows r, int share, struct view x, struct view v, struct view by, struct view y)
{
    for (struct walk w = first_row(r); w.first < r.n; next_row(&w, r)) {
        struct row<true> vector(v, w, r);
        float length = fmaxf(product(vector.held, vector.held, r.lanes), FLOOR);
        for (int h = 0; h < share; h++) {
            struct walk head = head_of(w, share, h);
            struct row<true> row(x, head, r);
            float c = factor_of(by, head) * divide(product(row.held, vector.held, r.lanes), length);
            struct eight u = row.held;
            for (int l = 0; l < LANES; l++) u.v[l] -= c * vector.held.v[l];
            row_store(y, row.at, row.column(0), w.d, u);
        }
    }
}

/* With e = dy.v / n: dx = dy - by e v;  dby = -c dy.v;  dv = -by (e x + c dy - 2 c e v). */
static __global__ void __launch_bounds__(BLOCK)
reject_backward(struct rows r, int share, struct view x, struct view v, struct view by, struct view dy, struct sum dx,
                struct sum dv, struct sum dby)
{
    for (struct walk w = first_row(r); w.first < r.n; next_row(&w, r)) {
        struct row<true> vector(v, w, r);
        float square = product(vector.held, vector.held, r.lanes), length = fmaxf(square, FLOOR);
        float twice = square > FLOOR ? 2 : 0;
        struct eight sum = {};
        for (int h = 0; h < share; h++) {
            struct walk head = head_of(w, share, h);
            struct row<true> row(x, head, r), drow(dy, head, r);
            float along = product(drow.held, vector.held, r.lanes), factor = factor_of(by, head);
            float c = divide(product(row.held, vector.held, r.lanes), length), e = divide(along, length);
            struct eight g = drow.held;
            for (int l = 0; l < LANES; l++) {
                sum.v[l] -= factor * (e * row.held.v[l] + c * g.v[l] - twice * c * e * vector.held.v[l]);
                g.v[l] -= factor * e * vector.held.v[l];
            }
            row_add(dx, row.at, row.column(0), w.d, g);
            if (w.lane == 0 && w.d) add(dby, head.row, -c * along);
        }
        row_add(dv, vector.at, vector.column(0), w.d, sum);
    }
}

static int share_of(const struct args *a) { return (int)(a->in[X].shape.dim[1] / a->in[V].shape.dim[1]); }

static void forward(const struct args *a)
{
    struct rows r = rows_of(a->in[V].shape);
    LAUNCH(a, reject_forward, grid_for(a, r.n, r.at_once), r.lanes * r.at_once, 0, r, share_of(a), view_of(a->in[X]),
           view_of(a->in[V]), view_of(a->in[BY]), view_of(a->out[0]));
}

static void backward(const struct args *a)
{
    struct rows r = rows_of(a->in[V].shape);
    LAUNCH(a, reject_backward, grid_for(a, r.n, r.at_once), r.lanes * r.at_once, 0, r, share_of(a), view_of(a->in[X]),
           view_of(a->in[V]), view_of(a->in[BY]), view_of(a->dout[0]), sum_of(a, X), sum_of(a, V), sum_of(a, BY));
}

TWIN(reject, forward, backward);
