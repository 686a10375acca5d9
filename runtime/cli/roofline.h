/* A training step held against what a GPU's data sheet allows. A model: nothing runs. */
#ifndef SLUICE_CLI_ROOFLINE_H
#define SLUICE_CLI_ROOFLINE_H

#include "cli.h"
#include "study.h"

/* What a step of the baseline would take on that GPU at best, by families of ops. */
struct roofline;
enum code roofline_new(struct roofline **out, const struct study *s, const char *gpu);
void roofline_print(const struct roofline *r);
json_t *roofline_json(const struct roofline *r);
void roofline_free(struct roofline *r);

#endif
