/* Whether two run files hold the same bits: every series that is not volatile, and the state at every checkpoint. */
#ifndef SLUICE_CLI_TWIN_H
#define SLUICE_CLI_TWIN_H

#include "store/store.h"

struct twin { int series, states, bad; int64_t rows[STORE_GROUPS]; };       /* compared; that differ */
/* Compares the rows and checkpoints that both have, and prints what differs. -1: one of them cannot be read. */
int twin_compare(struct reader *was, struct reader *is, struct twin *out, struct err *e);

#endif
