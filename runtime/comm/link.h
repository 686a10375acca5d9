/* An artificial link, for experiments: SLUICE_LINK=MICROSECONDS:GB/s. A message is delivered no sooner than by a link
   of this latency that carries what a rank sends, one after the other, at this rate. Ranks are of one machine, and so
   have one clock. */
#ifndef SLUICE_LINK_H
#define SLUICE_LINK_H

#include "base/base.h"

int link_read(struct err *e);                               /* the variable; -1: it says something else */
bool link_there(void);
double link_due(size_t bytes);                              /* of a message that is sent now, when it is delivered */
void link_wait(double due);

#endif
