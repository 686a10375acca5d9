/* Which products there are, the choice of an algorithm, and the call: what a product may be, and where its memory may lie. */
#include "cublaslt_product.h"
#include "ptxhost.h"
#include <stdio.h>
#include <string.h>

static const char letter[4] = "ABCD";

/* Bytes from the first to the last value. */
static int64_t extent(const struct layout *l)
{
    return ((l->batch - 1) * l->stride + (lines(l) - 1) * l->ld + line_values(l)) * cublaslt_size(l->type);
}

static cublasStatus_t layout_check(char name, const struct layout *l, int batch)
{
    if (!cublaslt_size(l->type)) return cublaslt_unsupported("type", l->type);
    if (l->order != CUBLASLT_ORDER_COL && !in_rows(l)) return cublaslt_unsupported("order", l->order);
    if (l->mode != CUBLASLT_BATCH_MODE_STRIDED || l->plane) return cublaslt_unsupported("batch mode or plane", l->mode);
    if (!l->rows || !l->cols || l->rows > INT32_MAX || l->cols > INT32_MAX)
        return cublaslt_mistake("%c is %llu x %llu", name, (unsigned long long)l->rows, (unsigned long long)l->cols);
    if (l->ld < line_values(l))
        return cublaslt_mistake("%c has lines of %lld values and a leading dimension of %lld", name, (long long)line_values(l), (long long)l->ld);
    if (l->batch != batch || l->stride < 0)
        return cublaslt_mistake("%c has %d matrices at a stride of %lld, D has %d", name, l->batch, (long long)l->stride, batch);
    return CUBLAS_STATUS_SUCCESS;
}

/* Matrices of a batch of results may follow or interleave, not overlap. */
static bool overlaps_itself(const struct layout *l)
{
    int64_t one = (lines(l) - 1) * l->ld + line_values(l);
    return l->batch > 1 && l->stride < one && (l->stride < line_values(l) || (l->batch - 1) * l->stride + line_values(l) > l->ld);
}

static cublasStatus_t types_check(const struct operation *op, const struct operand m[4])
{
    uint32_t in = m[A].l.type, out = m[D].l.type;
    bool tf32 = op->compute == CUBLAS_COMPUTE_32F_FAST_TF32;
    if (op->compute != CUBLAS_COMPUTE_32F && op->compute != CUBLAS_COMPUTE_32F_PEDANTIC && !tf32) return cublaslt_unsupported("compute type", op->compute);
    if (op->scale != CUDA_R_32F) return cublaslt_unsupported("scale type", op->scale);
    if (m[B].l.type != in || m[C].l.type != out || (out != in && out != CUDA_R_32F) || (tf32 && in != CUDA_R_32F))
        return cublaslt_unsupported("types of A, B, C, D, two digits each,", m[A].l.type * 1000000ll + m[B].l.type * 10000 + m[C].l.type * 100 + m[D].l.type);
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t epilogue_check(const struct operation *op, const struct layout *out)
{
    uint32_t function = op->epilogue & ~(uint32_t)CUBLASLT_EPILOGUE_BIAS;
    if (function != 0 && function != CUBLASLT_EPILOGUE_DEFAULT && function != CUBLASLT_EPILOGUE_RELU && function != CUBLASLT_EPILOGUE_GELU)
        return cublaslt_unsupported("epilogue", op->epilogue);
    if (op->epilogue == 0 || op->epilogue == (CUBLASLT_EPILOGUE_DEFAULT | CUBLASLT_EPILOGUE_BIAS)) return cublaslt_unsupported("epilogue", op->epilogue);
    if (!(op->epilogue & CUBLASLT_EPILOGUE_BIAS)) return CUBLAS_STATUS_SUCCESS;
    if (in_rows(out)) return cublaslt_unsupported("bias with a result in row order, epilogue", op->epilogue);
    if (op->bias_type != -1 && op->bias_type != (int32_t)out->type) return cublaslt_unsupported("bias of type", op->bias_type);
    return CUBLAS_STATUS_SUCCESS;
}

/* m x k of op(A), k x n of op(B), m x n of C and D. */
static cublasStatus_t shapes_check(const struct operation *op, const struct operand m[4])
{
    const struct layout *a = &m[A].l, *b = &m[B].l, *c = &m[C].l, *d = &m[D].l;
    bool at = op->trans_a != CUBLAS_OP_N, bt = op->trans_b != CUBLAS_OP_N;
    if ((at ? a->cols : a->rows) != d->rows || (bt ? b->rows : b->cols) != d->cols || (at ? a->rows : a->cols) != (bt ? b->cols : b->rows))
        return cublaslt_mistake("shapes do not fit: A %d x %d%s, B %d x %d%s, D %d x %d", (int)a->rows, (int)a->cols, at ? " transposed" : "",
                                (int)b->rows, (int)b->cols, bt ? " transposed" : "", (int)d->rows, (int)d->cols);
    if (c->rows != d->rows || c->cols != d->cols || c->order != d->order)
        return cublaslt_mistake("C is %d x %d, D %d x %d, or their orders differ", (int)c->rows, (int)c->cols, (int)d->rows, (int)d->cols);
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t product_check(const struct operation *op, const struct operand m[4])
{
    cublasStatus_t status;
    if (op->trans_a < 0 || op->trans_a > CUBLAS_OP_C || op->trans_b < 0 || op->trans_b > CUBLAS_OP_C)
        return cublaslt_mistake("operations %d and %d", op->trans_a, op->trans_b);
    if (op->trans_c != CUBLAS_OP_N) return cublaslt_unsupported("operation on C", op->trans_c);
    if (op->fill != CUBLAS_FILL_MODE_FULL) return cublaslt_unsupported("fill mode", op->fill);
    if (op->pointers != CUBLASLT_POINTER_MODE_HOST && op->pointers != CUBLASLT_POINTER_MODE_DEVICE)
        return cublaslt_unsupported("pointer mode", op->pointers);
    for (int i = A; i <= D; i++) if ((status = layout_check(letter[i], &m[i].l, m[D].l.batch))) return status;
    if (overlaps_itself(&m[D].l)) return cublaslt_mistake("the %d matrices of D overlap: stride %lld", m[D].l.batch, (long long)m[D].l.stride);
    if ((status = types_check(op, m)) || (status = epilogue_check(op, &m[D].l))) return status;
    return shapes_check(op, m);
}

/* ---- algorithms ---- */

static uint64_t hash(uint64_t h, const void *data, size_t bytes)
{
    for (const unsigned char *p = data; bytes; p++, bytes--) h = (h ^ *p) * 0x100000001b3ull;
    return h;
}

static uint64_t problem_of(const struct operation *op, const struct operand m[4])
{
    struct operation o = *op;
    o.bias = 0;
    uint64_t h = hash(0xcbf29ce484222325ull, &o, sizeof o);
    for (int i = A; i <= D; i++) h = hash(h, &m[i].l, sizeof m[i].l);
    return h;
}

static uint64_t seal_of(const struct algorithm *a) { return hash(1, &a->problem, sizeof *a - offsetof(struct algorithm, problem)); }

static uint32_t alignment(const struct layout *l, uint32_t promised)
{
    uint64_t size = (uint64_t)cublaslt_size(l->type), all = 16 | promised | (uint64_t)l->ld * size | (l->batch > 1 ? (uint64_t)l->stride * size : 0);
    return (uint32_t)(all & -all);
}

/* Offers first what surprises most: parts of k summed apart where a scheme for that is allowed, then a workspace where one is. */
static int offer(struct algorithm to[3], const struct preference *pref, const struct operation *op, const struct operand m[4])
{
    const struct layout *a = &m[A].l, *d = &m[D].l;
    uint64_t k = op->trans_a == CUBLAS_OP_N ? a->cols : a->rows, partial = 3 * 4 * d->rows * d->cols * (uint64_t)d->batch;
    uint32_t scheme = pref->schemes & CUBLASLT_REDUCTION_SCHEME_MASK;
    struct algorithm base = { .problem = problem_of(op, m), .parts = 1 };
    int n = 0;
    for (int i = A; i <= D; i++) base.align[i] = alignment(&m[i].l, pref->align[i]);
    to[n++] = base;
    if (scheme && k >= 96 && pref->workspace >= partial) {
        to[0].parts = 3;
        to[0].scheme = scheme & CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE ? CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE : scheme;
        to[0].workspace = partial;
        to[n++] = base;
    }
    if (pref->workspace >= 4096) {
        to[n - 1].workspace = 4096 - 16 * (base.problem % 16);
        to[n++] = base;
    }
    for (int i = 0; i < n; i++) to[i].seal = seal_of(&to[i]);
    return n;
}

static void operands(struct operand m[4], cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d)
{
    const cublasLtMatrixLayout_t from[4] = { a, b, c, d };
    for (int i = A; i <= D; i++) m[i] = (struct operand){ .l = *(const struct layout *)from[i] };
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d, cublasLtMatmulPreference_t preference,
                                              int wanted, cublasLtMatmulHeuristicResult_t *results, int *found)
{
    struct operand m[4];
    struct algorithm offers[3];
    if (!cublaslt_is_live(handle)) return CUBLAS_STATUS_NOT_INITIALIZED;
    if (!desc || !a || !b || !c || !d || !preference || !results || !found || wanted <= 0)
        return cublaslt_mistake("the heuristic is asked with NULL, or for %d algorithms", wanted);
    *found = 0;
    const struct operation *op = (const struct operation *)desc;
    const struct preference *pref = (const struct preference *)preference;
    if (pref->search != CUBLASLT_SEARCH_BEST_FIT || pref->waves != 0) return cublaslt_unsupported("search mode or wave count", pref->search);
    operands(m, a, b, c, d);
    cublasStatus_t status = product_check(op, m);
    if (status) return status;
    int n = offer(offers, pref, op, m);
    for (*found = 0; *found < n && *found < wanted; ++*found) {
        cublasLtMatmulHeuristicResult_t *r = &results[*found];
        memset(r, 0, sizeof *r);
        memcpy(&r->algo, &offers[*found], sizeof offers[0]);
        r->workspaceSize = offers[*found].workspace;
        r->state = CUBLAS_STATUS_SUCCESS;
        r->wavesCount = 1;
    }
    return CUBLAS_STATUS_SUCCESS;
}

/* ---- memory ---- */

static bool reads_c(const struct product *p) { return p->op.pointers == CUBLASLT_POINTER_MODE_DEVICE || p->beta.value != 0; }
static int64_t bias_bytes(const struct product *p)
{
    return ((p->m[D].l.batch - 1) * p->op.bias_stride + (int64_t)p->m[D].l.rows) * cublaslt_size(p->m[D].l.type);
}

static bool on_device(const char *name, uint64_t at, int64_t bytes, uint64_t align)
{
    cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
    unsigned long long place = at;
    if (!ph_is_device(at)) status = cublaslt_mistake("%s is not device memory: %#llx", name, place);
    else if (at % align) status = cublaslt_mistake("%s is at %#llx, the algorithm needs it aligned to %d bytes", name, place, (int)align);
    else if (!ph_in_bounds(at, (uint64_t)bytes)) status = cublaslt_mistake("%s is %lld bytes at %#llx, which leave their allocation", name, (long long)bytes, place);
    return status == CUBLAS_STATUS_SUCCESS;
}

/* Whether some line of x and some line of y share a byte. Spans seldom meet; where they do, as in operands that lie side by side in one
   array, every pair of lines is compared. */
static bool overlap(const struct operand *x, const struct operand *y)
{
    uint64_t x_end = x->at + (uint64_t)extent(&x->l), y_end = y->at + (uint64_t)extent(&y->l);
    uint64_t x_bytes = (uint64_t)line_bytes(&x->l), y_bytes = (uint64_t)line_bytes(&y->l);
    if (x->at >= y_end || y->at >= x_end) return false;
    for (int64_t i = 0; i < x->l.batch * lines(&x->l); i++) {
        uint64_t from = line_at(x, (int)(i / lines(&x->l)), i % lines(&x->l));
        if (from >= y_end || from + x_bytes <= y->at) continue;
        for (int64_t j = 0; j < y->l.batch * lines(&y->l); j++) {
            uint64_t other = line_at(y, (int)(j / lines(&y->l)), j % lines(&y->l));
            if (from < other + y_bytes && other < from + x_bytes) return true;
        }
    }
    return false;
}

/* Has to hold when the work runs, too, which may be later. */
static bool memory_check(const struct product *p)
{
    char name[2] = "";
    const struct operand *d = &p->m[D];
    for (int i = A; i <= D; i++) {
        if (i == C && !reads_c(p)) continue;
        name[0] = letter[i];
        if (!on_device(name, p->m[i].at, extent(&p->m[i].l), p->algo.align[i])) return false;
    }
    if (has_bias(p) && !on_device("bias", p->op.bias, bias_bytes(p), (uint64_t)cublaslt_size(d->l.type))) return false;
    if (p->algo.workspace && !on_device("the workspace", p->workspace, (int64_t)p->algo.workspace, 16)) return false;
    if (p->op.pointers == CUBLASLT_POINTER_MODE_DEVICE && !(on_device("alpha", p->alpha.at, 4, 4) && on_device("beta", p->beta.at, 4, 4))) return false;
    return true;
}

static cublasStatus_t overlap_check(const struct product *p)
{
    const struct operand *d = &p->m[D];
    const struct layout room = { .type = CUDA_R_32F, .rows = p->algo.workspace / 4, .cols = 1, .ld = (int64_t)p->algo.workspace / 4, .batch = 1 };
    const struct operand workspace = { room, p->workspace };
    bool same = p->m[C].at == d->at && memcmp(&p->m[C].l, &d->l, sizeof d->l) == 0;
    for (int i = A; i <= D; i++) {
        if (i == C && !reads_c(p)) continue;
        if (i <= B && overlap(&p->m[i], d)) return cublaslt_mistake("%c and D overlap", letter[i]);
        if (i == C && !same && overlap(&p->m[C], d)) return cublaslt_mistake("C and D overlap and are not the same matrix");
        if (p->algo.workspace && overlap(&p->m[i], &workspace)) return cublaslt_mistake("%c lies in the workspace", letter[i]);
    }
    return CUBLAS_STATUS_SUCCESS;
}

static bool readable(const struct operand *o, const char *who)
{
    for (int b = 0; b < (o->l.stride ? o->l.batch : 1); b++)
        for (int64_t i = 0; i < lines(&o->l); i++)
            if (!ph_check_readable(line_at(o, b, i), (uint64_t)line_bytes(&o->l), who)) return false;
    return true;
}

static void run(const void *data)
{
    const struct product *p = data;
    const struct operand *d = &p->m[D];
    uint64_t size = (uint64_t)cublaslt_size(d->l.type);
    float alpha = p->alpha.value, beta = p->beta.value;
    if (!memory_check(p)) return;
    if (p->op.pointers == CUBLASLT_POINTER_MODE_DEVICE) {
        if (!ph_check_readable(p->alpha.at, 4, "cublasLtMatmul alpha") || !ph_check_readable(p->beta.at, 4, "cublasLtMatmul beta")) return;
        memcpy(&alpha, ph_storage(p->alpha.at), 4);
        memcpy(&beta, ph_storage(p->beta.at), 4);
    }
    readable(&p->m[A], "cublasLtMatmul A");
    readable(&p->m[B], "cublasLtMatmul B");
    if (beta != 0) readable(&p->m[C], "cublasLtMatmul C");
    for (int b = 0; has_bias(p) && b < d->l.batch; b++)
        ph_check_readable(p->op.bias + (uint64_t)b * (uint64_t)p->op.bias_stride * size, d->l.rows * size, "cublasLtMatmul bias");
    if (p->algo.workspace) memset(ph_storage(p->workspace), 0xff, p->algo.workspace);
    cublaslt_multiply(p, alpha, beta);
    for (int b = 0; b < d->l.batch; b++)
        for (int64_t i = 0; i < lines(&d->l); i++) ph_check_written(line_at(d, b, i), (uint64_t)line_bytes(&d->l));
}

/* ---- the call ---- */

static cublasStatus_t scalar(union scalar *to, const struct operation *op, const void *from, const char *name)
{
    bool device = ph_is_device((uint64_t)(uintptr_t)from);
    if (!from || device != (op->pointers == CUBLASLT_POINTER_MODE_DEVICE))
        return cublaslt_mistake("%s at %p: the pointer mode is %d", name, from, op->pointers);
    if (device) to->at = (uint64_t)(uintptr_t)from;
    else memcpy(&to->value, from, sizeof to->value);
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t algorithm_check(struct product *p, const cublasLtMatmulAlgo_t *algo, size_t workspace_bytes)
{
    if (!algo) return cublaslt_mistake("no algorithm is given: the call would search for one each time");
    memcpy(&p->algo, algo, sizeof p->algo);
    if (p->algo.seal != seal_of(&p->algo)) return cublaslt_mistake("the algorithm did not come from the heuristic");
    if (p->algo.problem != problem_of(&p->op, p->m)) return cublaslt_mistake("the algorithm was chosen for another operation or other layouts");
    if (workspace_bytes < p->algo.workspace)
        return cublaslt_mistake("the algorithm needs %zu bytes of workspace, %zu are given", (size_t)p->algo.workspace, workspace_bytes);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void *alpha, const void *a, cublasLtMatrixLayout_t a_layout,
                              const void *b, cublasLtMatrixLayout_t b_layout, const void *beta, const void *c, cublasLtMatrixLayout_t c_layout,
                              void *d, cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t *algo,
                              void *workspace, size_t workspace_bytes, cudaStream_t stream)
{
    struct product p = { .workspace = (uint64_t)(uintptr_t)workspace };
    const void *at[4] = { a, b, c, d };
    cublasStatus_t status;
    if (!cublaslt_is_live(handle)) return CUBLAS_STATUS_NOT_INITIALIZED;
    if (!desc || !a_layout || !b_layout || !c_layout || !d_layout) return cublaslt_mistake("a descriptor of cublasLtMatmul is NULL");
    p.op = *(const struct operation *)desc;
    operands(p.m, a_layout, b_layout, c_layout, d_layout);
    for (int i = A; i <= D; i++) p.m[i].at = (uint64_t)(uintptr_t)at[i];
    if ((status = product_check(&p.op, p.m)) || (status = algorithm_check(&p, algo, workspace_bytes))) return status;
    if ((status = scalar(&p.alpha, &p.op, alpha, "alpha")) || (status = scalar(&p.beta, &p.op, beta, "beta"))) return status;
    if (!memory_check(&p)) return CUBLAS_STATUS_INVALID_VALUE;
    if ((status = overlap_check(&p))) return status;
    ph_enqueue(stream, "cublasLtMatmul", run, &p, sizeof p);
    return CUBLAS_STATUS_SUCCESS;
}
