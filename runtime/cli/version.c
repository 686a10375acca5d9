/* The program's own version, its source, and what runs with it. */
#include "version.h"
#include "bind.h"
#include "cli.h"
#include "data/data.h"
#include "store/store.h"
#include "train/train.h"

#include <string.h>

const char version_number[] = SLUICE_VERSION;

struct version version_here(void)
{
    struct version v;
    char hdf5[32], lua[32], xxhash[32], packers[64];
    snprintf(v.revision, sizeof v.revision, "%s", train_revision);
    snprintf(v.build, sizeof v.build, "%s, %s", SLUICE_BUILD, base_compiler);
    snprintf(v.libraries, sizeof v.libraries, "HDF5 %s, Lua %s, jansson %s, xxHash %s, %s", store_library(hdf5),
             script_library(lua), jansson_version_str(), hash_library(xxhash), corpus_library(packers));
    return v;
}

void version_print(void)
{
    struct version v = version_here();
    struct err e;
    char cuda[256];
    const struct backend *backend = backend_find(BACKEND_CUDA, &e);
    printf("sluice %s\nrevision   %s\nbuild      %s\nlibraries  %s\n", version_number, v.revision, v.build,
           v.libraries);
    if (backend && backend->describe(0, cuda)) printf("CUDA       yes: %s\n", cuda);
    else printf("CUDA       no: %.*s\n", (int)strcspn(e.text, "\n"), e.text);
}
