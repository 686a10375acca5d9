/* The extents of a tensor. */
#ifndef SLUICE_SHAPE_H
#define SLUICE_SHAPE_H

#include "base.h"

enum { SHAPE_RANK = 4 };
struct shape { int rank; int64_t dim[SHAPE_RANK]; };
#define SHAPE(...) ((struct shape){ COUNT(((int64_t[]){ __VA_ARGS__ })), { __VA_ARGS__ } })
int64_t shape_count(struct shape s);
int64_t shape_last(struct shape s);                         /* values in a row */
int64_t shape_rows(struct shape s);                         /* count / last */
/* The last two extents are a matrix, of which those before them number so many; a vector is one row. */
struct stack { int64_t matrices, rows, columns; };
struct stack shape_stack(struct shape s);
bool shape_equal(struct shape a, struct shape b);
const char *shape_text(struct shape s, char out[64]);       /* "[256,128]" */

#endif
