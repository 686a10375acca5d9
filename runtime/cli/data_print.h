/* What sluice data pack says of its inputs. */
#ifndef SLUICE_CLI_DATA_PRINT_H
#define SLUICE_CLI_DATA_PRINT_H

#include "data/data.h"
#include <jansson.h>

void data_print_files(const struct packed *made);           /* file by file; of many, folder by folder */
void data_print_skipped(const struct packed *made);
void data_add_files(const struct packed *made, json_t *to);

#endif
