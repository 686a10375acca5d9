/* What the files of the emulated libcublasLt share: what its opaque descriptors hold, and one product. */
#ifndef SLUICE_PTXHOST_CUBLASLT_PRODUCT_H
#define SLUICE_PTXHOST_CUBLASLT_PRODUCT_H

#include <cublasLt.h>
#include <stdbool.h>
#include <stdint.h>

/* No padding: they are hashed. */
struct layout { uint32_t type; int32_t order; uint64_t rows, cols; int64_t ld; int32_t batch; uint32_t mode; int64_t stride, plane; };
struct operation {
    int32_t compute, scale, pointers, trans_a, trans_b, trans_c, fill; uint32_t epilogue;
    uint64_t bias; int64_t bias_stride; int32_t bias_type, multiprocessors;
};
struct preference { uint32_t search, schemes; uint64_t workspace, implementations; uint32_t align[4]; float waves; };
struct algorithm { uint64_t seal, problem, workspace; uint32_t align[4]; int32_t parts; uint32_t scheme; };

/* D = epilogue(alpha op(A) op(B) + beta C + bias). A matrix is lines of adjacent values: columns, or rows in row order. */
enum { A, B, C, D };
struct operand { struct layout l; uint64_t at; };
union scalar { float value; uint64_t at; };
struct product { struct operation op; struct operand m[4]; struct algorithm algo; uint64_t workspace; union scalar alpha, beta; };

static inline int64_t cublaslt_size(uint32_t type) { return type == CUDA_R_32F ? 4 : type == CUDA_R_16BF || type == CUDA_R_16F ? 2 : 0; }
static inline bool in_rows(const struct layout *l) { return l->order == CUBLASLT_ORDER_ROW; }
static inline int64_t line_values(const struct layout *l) { return (int64_t)(in_rows(l) ? l->cols : l->rows); }
static inline int64_t lines(const struct layout *l) { return (int64_t)(in_rows(l) ? l->rows : l->cols); }
static inline int64_t line_bytes(const struct layout *l) { return line_values(l) * cublaslt_size(l->type); }
static inline uint64_t line_at(const struct operand *o, int batch, int64_t line)
{
    return o->at + (uint64_t)((batch * o->l.stride + line * o->l.ld) * cublaslt_size(o->l.type));
}
static inline uint64_t depth(const struct product *p) { return p->op.trans_a == CUBLAS_OP_N ? p->m[A].l.cols : p->m[A].l.rows; }
static inline bool has_bias(const struct product *p) { return p->op.epilogue & CUBLASLT_EPILOGUE_BIAS; }

/* A mistake is reported, what is not modelled only told; both give the status to return. */
cublasStatus_t cublaslt_mistake(const char *format, ...) __attribute__((format(printf, 1, 2)));
cublasStatus_t cublaslt_unsupported(const char *what, long long value);
bool cublaslt_is_live(cublasLtHandle_t handle);

void cublaslt_multiply(const struct product *p, float alpha, float beta);

#endif
