/* Finding a backend. What is not part of the program is a shared object beside it. */
#include "backend.h"
#include "base/object.h"

static const struct backend *load_cuda(struct err *e)
{
    static const struct object cuda = {
        "libsluice_cuda.so", "backend_entry", "CUDA backend",
        "install the CUDA Toolkit with cuBLAS and NCCL and build again; cmake -DSLUICE_CUDA=ON says what it lacks",
        "its libraries come with the CUDA Toolkit: name their folder in LD_LIBRARY_PATH",
    };
    const struct backend_entry *entry = object_load(&cuda, e);
    if (!entry) return NULL;
    *entry->comm_here = comm_here;
    return entry->of;
}

const struct backend *backend_find(enum backend_kind kind, struct err *e)
{
    static const struct backend *loaded;
    if (kind == BACKEND_CPU) return &backend_cpu;
    if (sizeof(real) != sizeof(float)) {
        err_set(e, "double precision is computed on the CPU alone");
        return NULL;
    }
    if (!loaded) loaded = load_cuda(e);
    return loaded;
}
