/* The registry: every module there is. */
#include "registry.h"

#include <string.h>

#define MODULE(slot, name) extern const struct module slot##_##name;
#include "list.h"
#undef MODULE
#define MODULE(slot, name) &slot##_##name,
const struct module *const module_all[] = {
#include "list.h"
    NULL
};
#undef MODULE

const struct module *module_find(enum slot slot, const char *name)
{
    for (const struct module *const *m = module_all; *m; m++)
        if ((*m)->slot == slot && strcmp((*m)->name, name) == 0) return *m;
    return NULL;
}
