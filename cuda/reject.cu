/* What of each head x stands at right angles to a vector of its group: y = x - by c v with c = x.v / max(v.v, FLOOR).
   Memory bounds it: x, v and dy are read once and y, dx and dv written once. Lanes that share a row of v walk through
   the heads that share it, so that dv is one sum in one order. */
#include "row.cuh"

enum { X, V, BY };
static const float FLOOR = 1e-8f;

template <bool HELD>
static __device__ inline float product(const struct row<HELD> &x, const struct row<HELD> &y, int lanes)
{
    float sum = 0;
    for (int p = 0; p < x.pieces(); p++) {
        struct eight u = x.piece(p), v = y.piece(p);
        for (int l = 0; l < LANES; l++) sum += u.v[l] * v.v[l];
    }
    return row_sum(sum, lanes);
}

/* Head h of the vector that w walks at. */
static __device__ inline struct walk head_of(const struct walk &w, int share, int h)
{
    struct walk head = w;
    head.row = w.row * share + h;
    return head;
}

template <bool HELD> ROWS_KERNEL reject_forward(struct rows r, int share, struct view x, struct view v, struct view by,
                                               struct view y)
{
    for (struct walk w = first_row(r); w.first < r.n; next_row(&w, r)) {
        struct row<HELD> vector(v, w, r);
        float length = fmaxf(product(vector, vector, r.lanes), FLOOR);
        for (int h = 0; h < share; h++) {
            struct walk head = head_of(w, share, h);
            struct row<HELD> row(x, head, r);
            float factor = by.data && w.d ? load(by, head.row) : 1;
            float c = factor * divide(product(row, vector, r.lanes), length);
            for (int p = 0; p < row.pieces(); p++) {
                struct eight u = row.piece(p), e = vector.piece(p);
                for (int l = 0; l < LANES; l++) u.v[l] -= c * e.v[l];
                row_store(y, row.at, row.column(p), w.d, u);
            }
        }
    }
}

/* With e = dy.v / n: dx = dy - by e v;  dby = -c dy.v;  dv = -by (e x + c dy - 2 c e v). A row that is not held adds to
   dv for each head, its own beta first. */
template <bool HELD>
ROWS_KERNEL reject_backward(struct rows r, int share, struct view x, struct view v, struct view by, struct view dy,
                            struct sum dx, struct sum dv, struct sum dby)
{
    for (struct walk w = first_row(r); w.first < r.n; next_row(&w, r)) {
        struct row<HELD> vector(v, w, r);
        float square = product(vector, vector, r.lanes), length = fmaxf(square, FLOOR), twice = square > FLOOR ? 2 : 0;
        struct eight sum = {};
        struct sum to = dv;
        for (int h = 0; h < share; h++) {
            struct walk head = head_of(w, share, h);
            struct row<HELD> row(x, head, r), drow(dy, head, r);
            float along = product(drow, vector, r.lanes), factor = by.data && w.d ? load(by, head.row) : 1;
            float c = divide(product(row, vector, r.lanes), length), e = divide(along, length);
            for (int p = 0; p < row.pieces(); p++) {
                struct eight u = row.piece(p), g = drow.piece(p), a = vector.piece(p);
                for (int l = 0; l < LANES; l++) {
                    float slope = -factor * (e * u.v[l] + c * g.v[l] - twice * c * e * a.v[l]);
                    sum.v[l] = HELD ? sum.v[l] + slope : slope;
                    g.v[l] -= factor * e * a.v[l];
                }
                if (dx.to.data) row_add(dx, row.at, row.column(p), w.d, g);
                if (dv.to.data && (!HELD || h == share - 1)) row_add(to, vector.at, vector.column(p), w.d, sum);
            }
            if (!HELD) to.beta = 1;
            if (w.lane == 0 && w.d) add(dby, head.row, -c * along);
        }
    }
}

static int share_of(const struct args *a) { return (int)(a->in[X].shape.dim[1] / a->in[V].shape.dim[1]); }

static void forward(const struct args *a)
{
    LAUNCH_ROWS(a, reject_forward, rows_of(a->in[V].shape), share_of(a), view_of(a->in[X]), view_of(a->in[V]),
                view_of(a->in[BY]), view_of(a->out[0]));
}

static void backward(const struct args *a)
{
    LAUNCH_ROWS(a, reject_backward, rows_of(a->in[V].shape), share_of(a), view_of(a->in[X]), view_of(a->in[V]),
                view_of(a->in[BY]), view_of(a->dout[0]), sum_of(a, X), sum_of(a, V), sum_of(a, BY));
}

TWIN(reject, forward, backward);
