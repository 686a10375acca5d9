/* The emulated libcudart's copies and fills. Pageable memory of the host is read at the call, pinned memory when the copy runs; what is
   written is written when it runs. */
#include "cudart.h"

#include <stdlib.h>
#include <string.h>

struct copy { const char *call; void *to; const void *from; size_t bytes; bool into_device, from_device, from_pinned; };

static cudaError_t check_side(const struct copy *c, uint64_t address, bool in_device, const char *side)
{
    const char *place = in_device ? "device" : "pinned";
    const struct range *r = in_device ? memory_find(address) : memory_pinned(address);
    if (!r && !in_device) return address ? cudaSuccess : cudart_fail(cudaErrorInvalidValue, "the %s is NULL", side);
    if (!r) return cudart_fail(cudaErrorInvalidValue, "the %s %#llx is no memory of the device", side, (unsigned long long)address);
    uint64_t room = r->address + r->bytes - address;
    if (c->bytes > room)
        return cudart_fail(cudaErrorInvalidValue, "the %s %#llx has %llu bytes to the end of its %s allocation, the copy is of %zu", side,
                           (unsigned long long)address, (unsigned long long)room, place, c->bytes);
    return cudaSuccess;
}

/* At the call, and again when it runs: a graph may run when its memory has gone. */
static cudaError_t check_copy(const struct copy *c)
{
    uint64_t to = (uintptr_t)c->to, from = (uintptr_t)c->from;
    cudaError_t error = check_side(c, to, c->into_device, "destination");
    if (!error) error = check_side(c, from, c->from_device, "source");
    if (!error && c->into_device && c->from_device && to < from + c->bytes && from < to + c->bytes)
        error = cudart_fail(cudaErrorInvalidValue, "source and destination overlap");
    return error;
}

/* What is copied from pageable memory follows the structure: it was read at the call. */
static void run_copy(const void *data)
{
    const struct copy *c = data;
    bool staged = !c->from_device && !c->from_pinned;
    const void *from = c->from_device ? ph_storage((uintptr_t)c->from) : staged ? (const void *)(c + 1) : c->from;
    if (check_copy(c)) return;
    if (c->from_pinned && !memory_pinned((uintptr_t)c->from)) {
        cudart_fail(cudaErrorInvalidValue, "its pinned source has been freed");
        return;
    }
    if (c->into_device && c->from_device) ph_check_copied((uintptr_t)c->to, (uintptr_t)c->from, c->bytes);
    else if (c->into_device) ph_check_written((uintptr_t)c->to, c->bytes);
    else if (c->from_device) ph_check_readable((uintptr_t)c->from, c->bytes, c->call);
    memcpy(c->into_device ? ph_storage((uintptr_t)c->to) : c->to, from, c->bytes);
}

static bool is_of_device(const void *p)
{
    const struct range *r = memory_find((uintptr_t)p);
    return ph_is_device((uintptr_t)p) && !(r && r->mapped);
}

static cudaError_t check_direction(const struct copy *c, enum cudaMemcpyKind kind)
{
    static const char *const names[] = { "cudaMemcpyHostToHost", "cudaMemcpyHostToDevice", "cudaMemcpyDeviceToHost", "cudaMemcpyDeviceToDevice" };
    enum cudaMemcpyKind is = (is_of_device(c->to) ? cudaMemcpyHostToDevice : cudaMemcpyHostToHost) + (is_of_device(c->from) ? cudaMemcpyDeviceToHost : 0);
    if (kind == cudaMemcpyDefault || kind == is) return cudaSuccess;
    if ((unsigned)kind > cudaMemcpyDefault) return cudart_fail(cudaErrorInvalidMemcpyDirection, "direction %d", (int)kind);
    return cudart_fail(cudaErrorInvalidMemcpyDirection, "asked for %s, but the pointers are %s", names[kind], names[is]);
}

static bool capturing(cudaStream_t stream)
{
    const struct CUstream_st *s = stream ? stream_find(stream) : NULL;
    return s && s->capture;
}

static cudaError_t copy(const char *call, void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind, cudaStream_t stream, bool at_once)
{
    struct copy c = { call, to, from, bytes, ph_is_device((uintptr_t)to), ph_is_device((uintptr_t)from), memory_pinned((uintptr_t)from) };
    if (bytes == 0) return cudaSuccess;
    cudaError_t error = check_direction(&c, kind);
    if (!error) error = check_copy(&c);
    if (error) return error;
    bool pageable_target = !c.into_device && !memory_pinned((uintptr_t)to), staged = !c.from_device && !c.from_pinned;
    if (!at_once && (pageable_target || staged) && capturing(stream))
        return cudart_fail(cudaErrorStreamCaptureUnsupported, "the graph would keep pageable memory of the host: use cudaMallocHost");
    size_t size = sizeof c + (staged ? bytes : 0);
    struct copy *data = cudart_allocate(size);
    *data = c;
    if (staged) memcpy(data + 1, from, bytes);
    struct work w = { WORK_COPY, call, run_copy, data, size, NULL };
    error = at_once ? stream_submit_at_once(&w) : stream_submit(stream, &w);
    free(data);
    return error;
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind)
{
    API;
    return copy(__func__, to, from, bytes, kind, NULL, true);
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind, cudaStream_t stream)
{
    API;
    return copy(__func__, to, from, bytes, kind, stream, false);
}

static cudaError_t find_symbol(const void *symbol, size_t bytes, size_t offset, char **at)
{
    struct range r = { 0 };
    cudaError_t error = module_symbol(symbol, &r);
    if (!error && (offset > r.bytes || bytes > r.bytes - offset))
        error = cudart_fail(cudaErrorInvalidValue, "%zu bytes at %zu: the variable has %llu", bytes, offset, (unsigned long long)r.bytes);
    *at = (char *)(uintptr_t)(r.address + offset);
    return error;
}

cudaError_t cudaMemcpyToSymbol(const void *symbol, const void *from, size_t bytes, size_t offset, enum cudaMemcpyKind kind)
{
    API;
    char *to;
    cudaError_t error = find_symbol(symbol, bytes, offset, &to);
    return error ? error : copy(__func__, to, from, bytes, kind, NULL, true);
}

cudaError_t cudaMemcpyToSymbolAsync(const void *symbol, const void *from, size_t bytes, size_t offset, enum cudaMemcpyKind kind, cudaStream_t stream)
{
    API;
    char *to;
    cudaError_t error = find_symbol(symbol, bytes, offset, &to);
    return error ? error : copy(__func__, to, from, bytes, kind, stream, false);
}

cudaError_t cudaMemcpyFromSymbol(void *to, const void *symbol, size_t bytes, size_t offset, enum cudaMemcpyKind kind)
{
    API;
    char *from;
    cudaError_t error = find_symbol(symbol, bytes, offset, &from);
    return error ? error : copy(__func__, to, from, bytes, kind, NULL, true);
}

struct set { uint64_t to; size_t bytes; int value; };

static cudaError_t check_set(const struct set *s)
{
    if (ph_in_bounds(s->to, s->bytes)) return cudaSuccess;
    return cudart_fail(cudaErrorInvalidValue, "%zu bytes at %#llx are not within one allocation of the device", s->bytes, (unsigned long long)s->to);
}

static void run_set(const void *data)
{
    const struct set *s = data;
    if (check_set(s)) return;
    ph_check_written(s->to, s->bytes);
    memset(ph_storage(s->to), s->value, s->bytes);
}

static cudaError_t set(const char *call, void *to, int value, size_t bytes, cudaStream_t stream, bool at_once)
{
    struct set s = { (uintptr_t)to, bytes, value };
    struct work w = { WORK_SET, call, run_set, &s, sizeof s, NULL };
    if (bytes == 0) return cudaSuccess;
    cudaError_t error = check_set(&s);
    return error ? error : at_once ? stream_submit_at_once(&w) : stream_submit(stream, &w);
}

cudaError_t cudaMemset(void *to, int value, size_t bytes)
{
    API;
    return set(__func__, to, value, bytes, NULL, true);
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream)
{
    API;
    return set(__func__, to, value, bytes, stream, false);
}
