/* libcublasLt of the emulated GPU: plain matrix products with the ABI of the header. What the library would read or write in the
   wrong place is reported, and so is what works there by luck: an algorithm that was not chosen for these shapes, an operand less
   aligned than it was promised, a workspace taken for granted. What is not modelled is refused as not supported.
   This file: handles, descriptors and their attributes. */
#include "cublaslt_product.h"
#include "ptxhost.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(struct layout) <= sizeof(cublasLtMatrixLayoutOpaque_t), "fits");
_Static_assert(sizeof(struct operation) <= sizeof(cublasLtMatmulDescOpaque_t), "fits");
_Static_assert(sizeof(struct preference) <= sizeof(cublasLtMatmulPreferenceOpaque_t), "fits");
_Static_assert(sizeof(struct algorithm) <= sizeof(cublasLtMatmulAlgo_t), "fits");

struct cublasLtContext { bool live; };
static struct cublasLtContext contexts[64];

cublasStatus_t cublaslt_mistake(const char *format, ...)
{
    char text[400];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    ph_report("cublasLt: %s", text);
    return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublaslt_unsupported(const char *what, long long value)
{
    fprintf(stderr, "ptxhost: cublasLt: not supported: %s %lld\n", what, value);
    return CUBLAS_STATUS_NOT_SUPPORTED;
}

/* ---- attributes ---- */

struct attribute { int id; uint16_t at, bytes; };
#define ATTRIBUTE(id, type, field) { id, offsetof(struct type, field), sizeof ((struct type *)0)->field }

static const struct attribute layout_attributes[] = {
    ATTRIBUTE(CUBLASLT_MATRIX_LAYOUT_TYPE, layout, type), ATTRIBUTE(CUBLASLT_MATRIX_LAYOUT_ORDER, layout, order),
    ATTRIBUTE(CUBLASLT_MATRIX_LAYOUT_ROWS, layout, rows), ATTRIBUTE(CUBLASLT_MATRIX_LAYOUT_COLS, layout, cols),
    ATTRIBUTE(CUBLASLT_MATRIX_LAYOUT_LD, layout, ld), ATTRIBUTE(CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, layout, batch),
    ATTRIBUTE(CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, layout, stride), ATTRIBUTE(CUBLASLT_MATRIX_LAYOUT_PLANE_OFFSET, layout, plane),
    ATTRIBUTE(CUBLASLT_MATRIX_LAYOUT_BATCH_MODE, layout, mode), { 0 }
};
static const struct attribute operation_attributes[] = {
    ATTRIBUTE(CUBLASLT_MATMUL_DESC_COMPUTE_TYPE, operation, compute), ATTRIBUTE(CUBLASLT_MATMUL_DESC_SCALE_TYPE, operation, scale),
    ATTRIBUTE(CUBLASLT_MATMUL_DESC_POINTER_MODE, operation, pointers), ATTRIBUTE(CUBLASLT_MATMUL_DESC_TRANSA, operation, trans_a),
    ATTRIBUTE(CUBLASLT_MATMUL_DESC_TRANSB, operation, trans_b), ATTRIBUTE(CUBLASLT_MATMUL_DESC_TRANSC, operation, trans_c),
    ATTRIBUTE(CUBLASLT_MATMUL_DESC_FILL_MODE, operation, fill), ATTRIBUTE(CUBLASLT_MATMUL_DESC_EPILOGUE, operation, epilogue),
    ATTRIBUTE(CUBLASLT_MATMUL_DESC_BIAS_POINTER, operation, bias), ATTRIBUTE(CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE, operation, bias_stride),
    ATTRIBUTE(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, operation, bias_type),
    ATTRIBUTE(CUBLASLT_MATMUL_DESC_SM_COUNT_TARGET, operation, multiprocessors), { 0 }
};
static const struct attribute preference_attributes[] = {
    ATTRIBUTE(CUBLASLT_MATMUL_PREF_SEARCH_MODE, preference, search), ATTRIBUTE(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, preference, workspace),
    ATTRIBUTE(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, preference, schemes), ATTRIBUTE(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, preference, align[A]),
    ATTRIBUTE(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, preference, align[B]), ATTRIBUTE(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, preference, align[C]),
    ATTRIBUTE(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, preference, align[D]), ATTRIBUTE(CUBLASLT_MATMUL_PREF_MAX_WAVES_COUNT, preference, waves),
    ATTRIBUTE(CUBLASLT_MATMUL_PREF_IMPL_MASK, preference, implementations), { 0 }
};

static const struct attribute *find(const struct attribute *list, int id)
{
    for (; list->bytes; list++) if (list->id == id) return list;
    return NULL;
}

static cublasStatus_t set(void *object, const struct attribute *list, int id, const void *value, size_t bytes)
{
    const struct attribute *a = find(list, id);
    if (!a) return cublaslt_unsupported("attribute", id);
    if (!object || !value || bytes != a->bytes) return cublaslt_mistake("attribute %d has %d bytes, %zu are given", id, a->bytes, bytes);
    memcpy((char *)object + a->at, value, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t get(const void *object, const struct attribute *list, int id, void *value, size_t bytes, size_t *written)
{
    const struct attribute *a = find(list, id);
    if (!a) return cublaslt_unsupported("attribute", id);
    if (!object || (bytes ? !value || bytes != a->bytes : !written)) return cublaslt_mistake("attribute %d has %d bytes, room for %zu is given", id, a->bytes, bytes);
    if (bytes) memcpy(value, (const char *)object + a->at, bytes);
    if (written) *written = a->bytes;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutInit_internal(cublasLtMatrixLayout_t to, size_t size, cudaDataType type, uint64_t rows, uint64_t cols, int64_t ld)
{
    if (!to || size < sizeof *to) return CUBLAS_STATUS_ALLOC_FAILED;
    memset(to, 0, sizeof *to);
    *(struct layout *)to = (struct layout){ .type = type, .rows = rows, .cols = cols, .ld = ld, .batch = 1 };
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *to, cudaDataType type, uint64_t rows, uint64_t cols, int64_t ld)
{
    *to = malloc(sizeof **to);
    return cublasLtMatrixLayoutInit_internal(*to, sizeof **to, type, rows, cols, ld);
}

cublasStatus_t cublasLtMatmulDescInit_internal(cublasLtMatmulDesc_t to, size_t size, cublasComputeType_t compute, cudaDataType_t scale)
{
    if (!to || size < sizeof *to) return CUBLAS_STATUS_ALLOC_FAILED;
    memset(to, 0, sizeof *to);
    *(struct operation *)to = (struct operation){
        .compute = compute, .scale = scale, .fill = CUBLAS_FILL_MODE_FULL, .epilogue = CUBLASLT_EPILOGUE_DEFAULT, .bias_type = -1 };
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *to, cublasComputeType_t compute, cudaDataType_t scale)
{
    *to = malloc(sizeof **to);
    return cublasLtMatmulDescInit_internal(*to, sizeof **to, compute, scale);
}

cublasStatus_t cublasLtMatmulPreferenceInit_internal(cublasLtMatmulPreference_t to, size_t size)
{
    if (!to || size < sizeof *to) return CUBLAS_STATUS_ALLOC_FAILED;
    memset(to, 0, sizeof *to);
    *(struct preference *)to = (struct preference){
        .schemes = CUBLASLT_REDUCTION_SCHEME_MASK, .align = { 256, 256, 256, 256 }, .implementations = ~0ull };
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *to)
{
    *to = malloc(sizeof **to);
    return cublasLtMatmulPreferenceInit_internal(*to, sizeof **to);
}

static cublasStatus_t destroy(void *object)
{
    if (!object) return cublaslt_mistake("a descriptor to destroy is NULL");
    free(object);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t l) { return destroy(l); }
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t d) { return destroy(d); }
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t p) { return destroy(p); }
cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t l, cublasLtMatrixLayoutAttribute_t id, const void *value, size_t bytes)
{ return set(l, layout_attributes, (int)id, value, bytes); }
cublasStatus_t cublasLtMatrixLayoutGetAttribute(cublasLtMatrixLayout_t l, cublasLtMatrixLayoutAttribute_t id, void *value, size_t bytes, size_t *written)
{ return get(l, layout_attributes, (int)id, value, bytes, written); }
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t id, const void *value, size_t bytes)
{ return set(d, operation_attributes, (int)id, value, bytes); }
cublasStatus_t cublasLtMatmulDescGetAttribute(cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t id, void *value, size_t bytes, size_t *written)
{ return get(d, operation_attributes, (int)id, value, bytes, written); }
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t p, cublasLtMatmulPreferenceAttributes_t id, const void *value, size_t bytes)
{ return set(p, preference_attributes, (int)id, value, bytes); }
cublasStatus_t cublasLtMatmulPreferenceGetAttribute(cublasLtMatmulPreference_t p, cublasLtMatmulPreferenceAttributes_t id, void *value, size_t bytes, size_t *written)
{ return get(p, preference_attributes, (int)id, value, bytes, written); }

/* ---- handles ---- */

bool cublaslt_is_live(cublasLtHandle_t h) { return h >= contexts && h < contexts + 64 && h->live; }

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle)
{
    for (int i = 0; i < 64; i++)
        if (!contexts[i].live) {
            contexts[i].live = true;
            *handle = &contexts[i];
            return CUBLAS_STATUS_SUCCESS;
        }
    return CUBLAS_STATUS_ALLOC_FAILED;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle)
{
    if (!cublaslt_is_live(handle)) return cublaslt_mistake("a handle is destroyed that does not live");
    handle->live = false;
    return CUBLAS_STATUS_SUCCESS;
}

size_t cublasLtGetVersion(void) { return CUBLAS_VERSION; }
size_t cublasLtGetCudartVersion(void) { return CUDART_VERSION; }
cublasStatus_t cublasLtLoggerSetLevel(int level) { return level < 0 || level > 5 ? CUBLAS_STATUS_INVALID_VALUE : CUBLAS_STATUS_SUCCESS; }

const char *cublasLtGetStatusName(cublasStatus_t status)
{
    switch (status) {
#define NAME(s) case CUBLAS_STATUS_##s: return "CUBLAS_STATUS_" #s;
    NAME(SUCCESS) NAME(NOT_INITIALIZED) NAME(ALLOC_FAILED) NAME(INVALID_VALUE) NAME(ARCH_MISMATCH) NAME(MAPPING_ERROR)
    NAME(EXECUTION_FAILED) NAME(INTERNAL_ERROR) NAME(NOT_SUPPORTED) NAME(LICENSE_ERROR)
#undef NAME
    }
    return "unknown status";
}

const char *cublasLtGetStatusString(cublasStatus_t status) { return cublasLtGetStatusName(status); }
