/* The gated delta rule, a memory of fixed size: with S = 0 where a document begins, for each value head
       S~ = diag(e^g) S;  r = v - S~^T k (delta) or v;  u = beta r;  S = S~ + k u^T;  o = scale S^T q.
   Linear attention, RetNet, GLA, Mamba-2; with delta DeltaNet, Gated DeltaNet (Yang 2024), Kimi Delta Attention. Chunks
   of tokens are products of matrices (Yang 2024, DeltaNet over length); a chunk's backward makes them anew from the
   state that entered it, and no other state is kept. Value head h reads query and key head h / (HV/H). */
#define VERBS "graph/ops/products.h"
#include "op.h"
#include "cpu/isa/delta_rows.h"

enum { WIDEST = 512 };                                      /* a key: what registers of a GPU hold */

VERB struct node *delta_rule(struct graph *g, struct delta_rule a)
{
    struct delta_rule_attr at = { a.scale, a.delta != 0, a.chunk };
    return graph_emit(g, &op_delta_rule, &at, a.q, a.k, a.v, a.g, a.beta, a.start, a.pos, a.state);
}

static int check_shapes(const struct node *n, struct err *e)
{
    char text[64];
    struct shape q = n->in[Q]->shape, v = n->in[V]->shape;
    if (v.dim[1] % q.dim[1] != 0)
        return err_set(e, "%lld value heads cannot share %lld key heads evenly", (long long)v.dim[1],
                       (long long)q.dim[1]);
    if (q.dim[2] > WIDEST) return err_set(e, "keys are %lld wide, at most %d may be", (long long)q.dim[2], WIDEST);
    if (!n->in[POS] != !n->in[STATE]) return err_set(e, "pos and state go together");
    if (n->in[STATE] && shape_last(n->in[STATE]->shape) != q.dim[2] * v.dim[2])
        return err_set(e, "state %s must end in N M = %lld", shape_text(n->in[STATE]->shape, text),
                       (long long)(q.dim[2] * v.dim[2]));
    return 0;
}

static struct sizes sizes_of_node(const struct node *n)
{
    return sizes_of(&n->in[Q]->shape, &n->in[V]->shape, &n->in[G]->shape, &n->in[START]->shape,
                    n->in[STATE] ? n->in[STATE]->shape.dim[1] : 0, n->attr);
}

/* Key heads of a sequence are shared out among at most SCRATCHES tasks. */
static int64_t grain_of(const struct sizes *s) { return blocks_of(s->batch * s->heads, SCRATCHES); }

static int infer(struct node *n, struct err *e)
{
    if (check_shapes(n, e) != 0) return -1;
    struct sizes s = sizes_of_node(n);
    node_value(n, n->in[Q]->dtype, n->in[V]->shape);
    node_save(n, DTYPE_REAL, SHAPE(s.batch * s.heads * s.share, s.chunks, s.n, s.m));
    node_work(n, DTYPE_REAL, SHAPE(blocks_of(s.batch * s.heads, grain_of(&s)), scratch_size(&s)));
    return 0;
}

/* The recurrence's products: what is predicted, stored and read; decays are not counted. */
static void cost(const struct node *n, struct cost *c)
{
    const struct delta_rule_attr *at = n->attr;
    c->flops = (at->delta ? 6 : 4) * (double)shape_count(n->in[V]->shape) * (double)shape_last(n->in[Q]->shape);
}

/* ---- forward ---- */

/* Everything of a value head's chunk before its output. */
static void make_chunk(const struct args *a, const struct sizes *s, const struct chunk *c, struct head h, real *state)
{
    read_gates(a, s, c, h);
    read_values(s, c, h, &a->in[V], c->r);
    look(s, c);
    predict(s, c, state);
}

/* The state after a chunk goes to the next one and, if it is among the last of a cache, into its ring. */
static void leave(const struct args *a, const struct sizes *s, const struct chunk *c, struct head h, int64_t chunk)
{
    int64_t last = c->first + c->n - 1 - h.batch * s->seq;
    real *state = entering(a, s, h, chunk), *next = chunk + 1 < s->chunks ? state + s->n * s->m : NULL,
         *kept = last >= s->whole && s->ring ? entry(a, s, h, s->before + last) : NULL;
    if (!next && !kept) return;
    advance(s, c, state, next ? next : kept);
    if (next && kept) memcpy(kept, next, (size_t)(s->n * s->m) * sizeof *next);
}

static void forward_keys(const struct args *a, int64_t from, int64_t to)
{
    struct sizes s = sizes_of_call(a);
    struct chunk c = chunk_in(&s, reals(&a->work[0]) + from / grain_of(&s) * scratch_size(&s));
    for (int64_t at = from; at < to; at++)
        for (int64_t number = 0; number < s.chunks; number++) {
            int64_t batch = at / s.heads, key = at % s.heads;
            c = read_keys(a, &s, c, batch, key, chunk_at(&s, number));
            for (int64_t v = key * s.share; v < (key + 1) * s.share; v++) {
                struct head h = { batch, key, v };
                if (number == 0) open_state(a, &s, h);
                make_chunk(a, &s, &c, h, entering(a, &s, h, number));
                read_out(&s, &c, entering(a, &s, h, number));
                real buffer[s.m];
                for (int64_t t = 0; t < c.n; t++) {
                    int64_t row = ((c.first + t) * s.heads * s.share + v) * s.m;
                    real *o = row_write(&a->out[0], row, s.m, buffer);
                    scaled(s.m, 1, c.o + t * s.m, o);
                    row_done(&a->out[0], row, s.m, o);
                }
                leave(a, &s, &c, h, number);
            }
        }
}

static void forward(const struct args *a)
{
    struct sizes s = sizes_of_call(a);
    each(a, s.batch * s.heads, grain_of(&s), forward_keys);
}

/* ---- backward ---- */

static void add_gradient(const struct args *a, int input, int64_t at, int64_t n, real scale, const real *from)
{
    real buffer[n];
    if (!a->din[input].data) return;
    real *to = row_add(&a->din[input], at, n, a->beta[input], buffer);
    add_scaled(n, scale, from, to);
    row_done(&a->din[input], at, n, to);
}

/* dv, dbeta, and dg: with b_t the sum of log decays up to t, db = x dx over the readers - k dk, and dg is the sum of db
   from its token on. What a decay of 0 cuts off has no gradient. */
static void write_gates(const struct args *a, const struct sizes *s, const struct chunk *c, struct head h, real *db)
{
    for (int64_t t = c->n - 1; t >= 0; t--) {
        int64_t head = (c->first + t) * s->heads * s->share + h.value;
        real dbeta = start_of(a, c, t) > s->before + c->first + t - h.batch * s->seq
                         ? 0 : inner(s->m, c->dr + t * s->m, c->r + t * s->m), sum = 0;
        for (int reader = 0; reader < s->readers; reader++)
            for (int64_t i = 0, at = (reader * s->chunk + t) * s->n; i < s->n; i++)
                db[i] += c->x[at + i] * c->dx[at + i];
        for (int64_t i = 0; i < s->n; i++) {
            db[i] = c->e[t * s->n + i] == 0 ? 0 : db[i] - c->k[t * s->n + i] * c->dk[t * s->n + i];
            sum += db[i];
        }
        add_gradient(a, G, head * s->gates, s->gates, 1, s->gates == 1 ? &sum : db);
        add_gradient(a, BETA, head, 1, 1, &dbeta);
        add_gradient(a, V, head * s->m, s->m, 1, c->du + t * s->m);
    }
}

static void head_gradients(const struct args *a, const struct sizes *s, const struct chunk *c, struct head h,
                           int64_t number, real *ds)
{
    real *state = entering(a, s, h, number), db[s->n];
    make_chunk(a, s, c, h, state);
    read_values(s, c, h, &a->dout[0], c->o);
    chunk_gradients(s, c, state, ds, db);
    write_gates(a, s, c, h, db);
    add_scaled(c->n * s->n, 1, c->dx, c->dq_sum);
    add_scaled(c->n * s->n, 1, c->dk, c->dk_sum);
    if (s->readers > KEYS) add_scaled(c->n * s->n, -1, c->dx + s->chunk * s->n, c->dk_sum);
}

static void backward_keys(const struct args *a, int64_t from, int64_t to)
{
    struct sizes s = sizes_of_call(a);
    struct chunk c = chunk_in(&s, reals(&a->work[0]) + from / grain_of(&s) * scratch_size(&s));
    for (int64_t at = from; at < to; at++) {
        int64_t batch = at / s.heads, key = at % s.heads;
        memset(c.ds, 0, (size_t)(s.share * s.n * s.m) * sizeof *c.ds);
        for (int64_t number = s.chunks - 1; number >= 0; number--) {
            c = read_keys(a, &s, c, batch, key, chunk_at(&s, number));
            memset(c.dq_sum, 0, (size_t)(c.n * s.n) * sizeof *c.dq_sum);
            memset(c.dk_sum, 0, (size_t)(c.n * s.n) * sizeof *c.dk_sum);
            for (int64_t v = 0; v < s.share; v++)
                head_gradients(a, &s, &c, (struct head){ batch, key, key * s.share + v }, number,
                               c.ds + v * s.n * s.m);
            for (int64_t t = 0; t < c.n; t++) {
                int64_t row = ((c.first + t) * s.heads + key) * s.n;
                add_gradient(a, Q, row, s.n, s.scale, c.dq_sum + t * s.n);
                add_gradient(a, K, row, s.n, 1, c.dk_sum + t * s.n);
            }
        }
    }
}

static void backward(const struct args *a)
{
    struct sizes s = sizes_of_call(a);
    each(a, s.batch * s.heads, grain_of(&s), backward_keys);
}

KERNELS(delta_rule) = { forward, backward, NULL };

ATTRIBUTES(delta_rule, struct delta_rule_attr,
    REAL(struct delta_rule_attr, scale, NEEDED, -HUGE_VAL, HUGE_VAL, "", "factor on what is read"),
    BOOL(struct delta_rule_attr, delta, NEEDED, "what is known of k already is not stored again"),
    INT(struct delta_rule_attr, chunk, NEEDED, 1, INT32_MAX, "tokens", "that are products of matrices together"));
OP(delta_rule, .inputs = "q[T,H,N] k[T,H,N] v[T,J,M] g:REAL[T,J|T,J,N] beta:REAL[T,J] start:I32[B,S] "
              "pos?:I32[1] state?*:REAL[B,R,J,P]",
   .outputs = "o[T,J,M]",
   .about = "scale S q, where the state S of each value head is first times e^g and then moved by beta (v - S k) "
          "k^T, with delta, or by beta v k^T. A token whose document begins after it stores nothing and gives 0. "
          "state: a ring of the states after the last R positions, P = N M; the one after position p is entry p mod R, "
          "so that pos may go back by up to R - 1; a chunk at pos goes on from entry pos - 1",
   ATTR(delta_rule), .infer = infer, .cost = cost, .gradient = true,
   .no_grad = 1u << STATE, .reads_in = 1u << Q | 1u << K | 1u << V | 1u << G | 1u << BETA | 1u << START | 1u << POS);
