/* Codes of 8 bits for what an optimizer remembers: the dynamic code of Dettmers 2022 (arXiv 2110.02861), which has as
   many values in a decade as the decade is large. A value is divided by the largest of its block, and what it then is,
   up to 1, has the number j = 2^b + f, which stands for the middle of bin f of the 2^b into which its decade is cut:

       signed     b 0 to 6: decades from 1e-6 to 1, j up to 127, and a bit for the sign
       positive   b 1 to 7: the same decades, j from 2 to 255

   0 is 0. The last number is 1 itself, so that the largest of a block is what it was. A positive value that is not 0
   has no code of 0 either: what is divided by its root would grow without bound. A block whose largest is below
   CODE_LEAST is all 0. */
#ifndef SLUICE_CODES_H
#define SLUICE_CODES_H

#include "anywhere.h"
#include "base/base.h"
#include <stdbool.h>
#include <stdint.h>

enum { CODE_DECADES = 7, CODE_SIGN = 128 };
#define CODE_LEAST 1e-37f

/* x: within -1 and 1, or 0 and 1 */
ANYWHERE uint8_t code_of(real x, bool positive)
{
    bool below = x < 0;
    real share = below ? -x : x;
    int decade = CODE_DECADES - 1;
    for (; decade > 0 && share <= (real)0.1; decade--) share *= 10;
    int bins = 1 << (decade + positive), bin = (int)(sum_apart(share, -(real)0.1) * (real)(1 / 0.9) * (real)bins);
    bin = bin < 0 ? 0 : bin < bins ? bin : bins - 1;
    if (positive ? !(x > 0) : decade == 0 && !(share > (real)0.275)) return 0;    /* half of the smallest */
    return (uint8_t)((bins + bin) | (below ? CODE_SIGN : 0));
}

ANYWHERE real code_value(uint8_t code, bool positive)
{
    int number = positive ? code : code & (CODE_SIGN - 1), bits = 0;
    real width = 1;
    for (; number >> (bits + 1); bits++) width *= (real)0.5;
    int decade = bits - positive;
    real size = sum_apart((real)0.1, (real)0.9 * ((real)(number - (1 << bits)) + (real)0.5) * width);
    if (number == (positive ? 2 * CODE_SIGN : CODE_SIGN) - 1) size = 1;
    if (number == 0) return 0;
    for (; decade < CODE_DECADES - 1; decade++) size *= (real)0.1;
    return !positive && code & CODE_SIGN ? -size : size;
}

#endif
