/* A training step held against what a GPU's data sheet allows. */
#ifndef SLUICE_CLI_ROOFLINE_H
#define SLUICE_CLI_ROOFLINE_H

#include "cli.h"
#include "study/study.h"

/* Prints what a step of the baseline would take on that GPU at best, by families of ops. A model: nothing runs. */
enum code roofline_print(const struct study *s, const char *gpu);

#endif
