/* The dot product of the instruction set in use: what is compiled for each set asks for it here, not the one that
   chooses. */
#include "isa.h"

dot_product *_Atomic dot_in_use;
