/* Finding and loading a shared object beside the program. */
#define _GNU_SOURCE
#include "object.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int beside_program(const char *name, char path[PATH_MAX], struct err *e)
{
    ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 1);
    char *slash = n > 0 ? (path[n] = 0, strrchr(path, '/')) : NULL;
    if (!slash || snprintf(slash + 1, (size_t)(path + PATH_MAX - slash - 1), "%s", name) >= path + PATH_MAX - slash - 1)
        return err_set(e, "the folder of this program cannot be found");
    return 0;
}

const void *object_load(const struct object *o, struct err *e)
{
    char path[PATH_MAX];
    if (beside_program(o->file, path, e)) return NULL;
    if (access(path, F_OK) != 0) {
        err_set(e, "this build has no %s (%s is not there): %s", o->what, path, o->install);
        return NULL;
    }
    void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!object) {
        err_set(e, "the %s cannot be loaded: %s; %s", o->what, dlerror(), o->libraries);
        return NULL;
    }
    const uint64_t *found = dlsym(object, o->symbol);
    if (found && *found == SLUICE_INTERFACE) return found;
    err_set(e, "%s belongs to another build of sluice: build again", path);
    return NULL;
}
