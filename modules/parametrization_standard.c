/* Initial values and rates are what is set, whatever the width. */
#include "model/module.h"

const struct module parametrization_standard = {
    .slot = SLOT_PARAMETRIZATION, .name = "standard", .about = "as they are set, whatever the width",
};
