/* How much memory this process can still have. */
#ifndef SLUICE_MEMORY_H
#define SLUICE_MEMORY_H

#include <stddef.h>

size_t memory_room(void);                                   /* bytes */

#endif
