/* The emulated libcudart's modules: the kernels and variables that nvcc's host code registers, and the translations that belong to them. */
#define _GNU_SOURCE
#include "cudart.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* One compiled .cu file, and the translation of its PTX. Two files may have kernels of one name (static ones), so that a name means
   something within its file alone. */
struct binary { struct binary *next; struct function *functions; struct symbol *symbols; const struct ph_module *module; bool bound; };
struct symbol { struct symbol *next; const void *host; const char *name; };

static struct binary *binaries;
static struct modules { const struct ph_module **of; int count; } modules;

/* ---- translations ---- */

static void load_variables(const struct ph_module *m)
{
    for (int i = 0; i < m->variables; i++) {
        const struct ph_variable *v = &m->variable[i];
        uint64_t at = memory_take(v->bytes, -1);
        if (!at) {
            cudart_fail(cudaErrorMemoryAllocation, "%s: no memory for variable %s", m->name, v->name);
            continue;
        }
        if (v->init) memcpy(ph_storage(at), v->init, v->bytes);
        else memset(ph_storage(at), 0, v->bytes);
        ph_check_written(at, v->bytes);
        *v->address = at;
    }
}

void module_load_variables(void)
{
    for (int i = 0; i < modules.count; i++) load_variables(modules.of[i]);
}

void ph_register(const struct ph_module *m)
{
    API;
    if (modules.count && modules.of[0]->checked != m->checked)
        cudart_fail(cudaErrorNotSupported, "of the translations %s and %s one is checked, the other not: what one writes the checker would not know",
                    modules.of[0]->name, m->name);
    if (!modules.count && m->checked) {
        ph_check_on(true);
        memory_tell_checker();
    }
    modules.of = realloc(modules.of, (size_t)(modules.count + 1) * sizeof *modules.of);
    if (!modules.of) abort();
    modules.of[modules.count++] = m;
    load_variables(m);
}

/* A name without a slash is a file here too, not one that the linker looks for. */
static void load_translation(const char *path)
{
    char *file = realpath(path, NULL);
    if (!file) cudart_fail(cudaErrorInvalidDeviceFunction, "PTXHOST_KERNELS: %s: %s", path, strerror(errno));
    else if (!dlopen(file, RTLD_NOW | RTLD_LOCAL)) cudart_fail(cudaErrorInvalidDeviceFunction, "PTXHOST_KERNELS: %s", dlerror());
    free(file);
}

static void load_translations(void)
{
    static bool done;
    const char *list = getenv("PTXHOST_KERNELS");
    if (done || !list) return;
    done = true;
    char *paths = strdup(list), *rest = paths;
    for (char *path; (path = strsep(&rest, ":"));)
        if (*path) load_translation(path);
    free(paths);
}

static const struct ph_kernel *find_kernel(const struct ph_module *m, const char *name)
{
    for (int i = 0; i < m->kernels; i++)
        if (strcmp(m->kernel[i].name, name) == 0) return &m->kernel[i];
    return NULL;
}

static struct function *find_named(const struct binary *b, const char *name)
{
    struct function *f = b->functions;
    while (f && strcmp(f->name, name) != 0) f = f->next;
    return f;
}

/* All kernels of a file's translation are registered by that file. */
static bool may_belong(const struct ph_module *m, const struct binary *b)
{
    if (m->arch > ph_profile()->arch) return false;
    for (int i = 0; i < m->kernels; i++)
        if (!find_named(b, m->kernel[i].name)) return false;
    return m->kernels > 0;
}

/* The fullest translation, of the newest PTX that the device takes. */
static void bind(struct binary *b)
{
    const struct ph_module *best = NULL, *twin = NULL;
    if (b->bound) return;
    b->bound = true;
    for (int i = 0; i < modules.count; i++) {
        const struct ph_module *m = modules.of[i];
        if (!may_belong(m, b)) continue;
        int better = !best ? 1 : m->kernels != best->kernels ? m->kernels - best->kernels : m->arch - best->arch;
        if (better > 0) twin = NULL;
        if (better == 0) twin = m;
        if (better > 0) best = m;
    }
    if (twin)
        cudart_fail(cudaErrorInvalidDeviceFunction, "translations %s and %s have the same kernels (%s, ...): which one is meant? Name a kernel otherwise.",
                    best->name, twin->name, best->kernel[0].name);
    b->module = best;
    for (struct function *f = b->functions; best && f; f = f->next) {
        f->kernel = find_kernel(best, f->name);
        f->arch = best->arch;
    }
}

static cudaError_t no_translation(const struct function *f)
{
    const char *list = getenv("PTXHOST_KERNELS");
    for (int i = 0; i < modules.count; i++) {
        if (!find_kernel(modules.of[i], f->name)) continue;
        if (modules.of[i]->arch > ph_profile()->arch)
            return cudart_fail(cudaErrorNoKernelImageForDevice, "kernel %s: %s is PTX for sm_%d, the device is sm_%d", f->name, modules.of[i]->name,
                               modules.of[i]->arch, ph_profile()->arch);
        return cudart_fail(cudaErrorInvalidDeviceFunction, "kernel %s: translation %s also has kernels that this program has not; is it of an older build?",
                           f->name, modules.of[i]->name);
    }
    return cudart_fail(cudaErrorInvalidDeviceFunction, "kernel %s has no translation (PTXHOST_KERNELS%s%s)", f->name, list ? "=" : " is not set", list ? list : "");
}

/* ---- what nvcc's host code calls ---- */

void **__cudaRegisterFatBinary(void *image);
void __cudaRegisterFatBinaryEnd(void **handle);
void __cudaUnregisterFatBinary(void **handle);
char __cudaInitModule(void **handle);
void __cudaRegisterFunction(void **handle, const char *host, char *device, const char *name, int thread_limit,
                            uint3 *tid, uint3 *bid, dim3 *block, dim3 *grid, int *warp);
void __cudaRegisterVar(void **handle, char *host, char *device, const char *name, int external, size_t bytes, int constant, int global);
cudaError_t __cudaGetKernel(cudaKernel_t *kernel, const void *function);

void **__cudaRegisterFatBinary(void *image)
{
    API;
    (void)image;                                            /* machine code for a real device */
    load_translations();
    struct binary *b = cudart_allocate(sizeof *b);
    b->next = binaries;
    binaries = b;
    return (void **)b;
}

void __cudaRegisterFatBinaryEnd(void **handle)
{
    (void)handle;
}

char __cudaInitModule(void **handle)
{
    (void)handle;
    return 0;
}

void __cudaUnregisterFatBinary(void **handle)
{
    API;
    struct binary *b = (struct binary *)handle, **link = &binaries;
    while (*link && *link != b) link = &(*link)->next;
    if (!*link) return;
    *link = b->next;
    for (struct function *f; (f = b->functions); free(f)) b->functions = f->next;
    for (struct symbol *s; (s = b->symbols); free(s)) b->symbols = s->next;
    free(b);
}

void __cudaRegisterFunction(void **handle, const char *host, char *device, const char *name, int thread_limit,
                            uint3 *tid, uint3 *bid, dim3 *block, dim3 *grid, int *warp)
{
    API;
    (void)device, (void)thread_limit, (void)tid, (void)bid, (void)block, (void)grid, (void)warp;
    struct binary *b = (struct binary *)handle;
    struct function *f = cudart_allocate(sizeof *f);
    *f = (struct function){ b->functions, host, name, NULL, 0, -1 };
    b->functions = f;
}

void __cudaRegisterVar(void **handle, char *host, char *device, const char *name, int external, size_t bytes, int constant, int global)
{
    API;
    (void)device, (void)external, (void)bytes, (void)constant, (void)global;
    struct binary *b = (struct binary *)handle;
    struct symbol *s = cudart_allocate(sizeof *s);
    *s = (struct symbol){ b->symbols, host, name };
    b->symbols = s;
}

/* ---- functions and variables ---- */

/* By the address of its stub, or by the handle that __cudaGetKernel gave. */
static struct function *find_function(const void *function)
{
    for (struct binary *b = binaries; b; b = b->next)
        for (struct function *f = b->functions; f; f = f->next) {
            if (f->host != function && (const void *)f != function) continue;
            bind(b);
            return f;
        }
    return NULL;
}

cudaError_t module_function(const void *function, struct function **f)
{
    *f = find_function(function);
    if (!*f) return cudart_fail(cudaErrorInvalidDeviceFunction, "%p is not a kernel", function);
    return (*f)->kernel ? cudaSuccess : no_translation(*f);
}

cudaError_t __cudaGetKernel(cudaKernel_t *kernel, const void *function)
{
    API;
    *kernel = (cudaKernel_t)find_function(function);
    return *kernel ? cudaSuccess : cudart_fail(cudaErrorInvalidDeviceFunction, "%p is not a kernel", function);
}

cudaError_t module_symbol(const void *symbol, struct range *found)
{
    for (struct binary *b = binaries; b; b = b->next)
        for (struct symbol *s = b->symbols; s; s = s->next) {
            if (s->host != symbol) continue;
            bind(b);
            for (int i = 0; b->module && i < b->module->variables; i++) {
                const struct ph_variable *v = &b->module->variable[i];
                if (strcmp(v->name, s->name) != 0) continue;
                *found = (struct range){ *v->address, v->bytes, 0, false };
                return cudaSuccess;
            }
            if (!b->module && b->functions) return no_translation(b->functions);
            return cudart_fail(cudaErrorInvalidSymbol, "variable %s is in no translation", s->name);
        }
    return cudart_fail(cudaErrorInvalidSymbol, "%p is no __device__ or __constant__ variable", symbol);
}

cudaError_t cudaGetSymbolAddress(void **address, const void *symbol)
{
    API;
    struct range r = { 0 };
    cudaError_t error = module_symbol(symbol, &r);
    *address = (void *)(uintptr_t)r.address;
    return error;
}

cudaError_t cudaGetSymbolSize(size_t *bytes, const void *symbol)
{
    API;
    struct range r = { 0 };
    cudaError_t error = module_symbol(symbol, &r);
    *bytes = r.bytes;
    return error;
}
