/* Learning rates by what a weight is: lr times the factor of its role, as docs/modules.md lists them. */
#include "model/module.h"

struct conf { double rate[ROLE_COUNT]; };
#define ROW(upper, name, about, ...) \
    { name, PARAM_REAL, ROLE_##upper * sizeof(double), sizeof(double), 1, 0, 1e6, NULL, "", about, 0, NULL, false },
static const struct param params[] = { ROLE_LIST(ROW) { 0 } };

static double rate(struct build *b, struct pick self, const struct leaf *w)
{
    (void)b;
    return ((const struct conf *)self.conf)->rate[w->role];
}

const struct module rates_roles = {
    .slot = SLOT_RATES, .name = "roles", .about = "by what a weight is",
    .conf_size = sizeof(struct conf), .params = params, .rate = rate,
};
