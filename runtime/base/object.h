/* Shared objects beside the program. They are loaded when what they hold is asked for, so that a machine that lacks a
   driver or a library starts at once. */
#ifndef SLUICE_OBJECT_H
#define SLUICE_OBJECT_H

#include "base.h"

/* what: words for what it holds. install, libraries: what to do where it is not there, or where it cannot be loaded. */
struct object { const char *file, *symbol, *what, *install, *libraries; };

/* The address of the symbol, which begins with a uint64_t: SLUICE_INTERFACE, a hash of the headers that the object and
   the program share (CMakeLists.txt). NULL: e says why and what to do; of another hash it is another build's. */
const void *object_load(const struct object *o, struct err *e);

#endif
