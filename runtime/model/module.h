/* What a module includes: the registry that it is in, and what it builds with. */
#ifndef SLUICE_MODULE_H
#define SLUICE_MODULE_H

#include "registry.h"
#include "graph/ops.h"

#endif
