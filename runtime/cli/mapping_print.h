/* What the tensors of a variant are made of that begins with another's, as plan and ckpt print it. */
#ifndef SLUICE_CLI_MAPPING_PRINT_H
#define SLUICE_CLI_MAPPING_PRINT_H

#include "cli.h"
#include "study/study.h"

/* A line for tensors that are alike but for their layer. That it begins with draws is a mistake, which is printed. */
enum code mapping_print(const struct study *s, int variant, bool json);

#endif
