/* A comparison in words and in JSON. */
#ifndef SLUICE_ANSWER_H
#define SLUICE_ANSWER_H

#include "compare.h"

extern const char *const answer_verdict[];                  /* by enum verdict */

enum { ANSWER_SIZE = 1024 };

/* "gated beats base by 0.0123 ± 0.0041 nats (5 paired seeds, p = 0.003)" */
void answer_sentence(const struct comparison *c, int arm, char *out, size_t size);
/* A p-value for people: LESS0.001, EQUAL0.023, or "-" where nothing was tested. Returns out. */
const char *answer_p(double p, const char *less, const char *equal, char out[32]);
/* Digits after the point that give the comparison's uncertainty two figures, 3 to 7. */
int answer_digits(const struct comparison *c);
const char *answer_unit(const struct comparison *c);        /* "nats" of nat/token, else the metric's own */
json_t *answer_json(const struct comparison *c);

#endif
