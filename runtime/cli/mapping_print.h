/* What the tensors of a model are made of that begins with another's, as plan and ckpt print it. */
#ifndef SLUICE_CLI_MAPPING_PRINT_H
#define SLUICE_CLI_MAPPING_PRINT_H

#include "model/mapping.h"
#include <jansson.h>
#include <stdio.h>

void mapping_print(const struct mapping *m, FILE *to);      /* a line for tensors that are alike but for their layer */
json_t *mapping_json(const struct mapping *m);

#endif
