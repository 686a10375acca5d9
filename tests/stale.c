/* A shared object with an entry of this build and one of another: test_base.c finds it beside itself. */
#include <stdint.h>

extern const uint64_t fresh_entry[8], stale_entry[8];
const uint64_t fresh_entry[8] = { SLUICE_INTERFACE }, stale_entry[8] = { SLUICE_INTERFACE ^ 1 };
