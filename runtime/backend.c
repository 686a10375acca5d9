/* Finding a backend. What is not part of the program is a shared object beside it, loaded when it is asked for, so that a
   machine that lacks a driver or a library starts at once. */
#define _GNU_SOURCE
#include "backend.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

static int beside_program(const char *name, char path[PATH_MAX], struct err *e)
{
    ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 1);
    char *slash = n > 0 ? (path[n] = 0, strrchr(path, '/')) : NULL;
    if (!slash || snprintf(slash + 1, (size_t)(path + PATH_MAX - slash - 1), "%s", name) >= path + PATH_MAX - slash - 1)
        return err_set(e, "the folder of this program cannot be found");
    return 0;
}

static const struct backend *load_object(const char *file, struct err *e)
{
    char path[PATH_MAX];
    if (beside_program(file, path, e)) return NULL;
    if (access(path, F_OK) != 0) {
        err_set(e, "this build has no CUDA backend (%s is not there): install the CUDA Toolkit with cuBLAS and NCCL and build again; cmake -DSLUICE_CUDA=ON says what it lacks", path);
        return NULL;
    }
    void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!object) {
        err_set(e, "the CUDA backend cannot be loaded: %s; its libraries come with the CUDA Toolkit: name their folder in LD_LIBRARY_PATH", dlerror());
        return NULL;
    }
    const struct backend_entry *entry = dlsym(object, "backend_entry"), here = BACKEND_ENTRY(NULL);
    if (entry && entry->ops == here.ops && entry->args == here.args && entry->backend == here.backend) return entry->of;
    err_set(e, "%s belongs to another build of sluice: build again", path);
    return NULL;
}

const struct backend *backend_find(enum backend_kind kind, struct err *e)
{
    static const struct backend *loaded;
    if (kind == BACKEND_CPU) return &backend_cpu;
    if (sizeof(real) != sizeof(float)) {
        err_set(e, "double precision is computed on the CPU alone");
        return NULL;
    }
    if (!loaded) loaded = load_object("libsluice_cuda.so", e);
    return loaded;
}
