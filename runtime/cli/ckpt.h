/* The verbs of sluice ckpt, which share its options. */
#ifndef SLUICE_CLI_CKPT_H
#define SLUICE_CLI_CKPT_H

#include "cli.h"

enum code ckpt_inspect(const struct call *c);
enum code ckpt_average(const struct call *c);
enum code ckpt_convert(const struct call *c);
enum code ckpt_map(const struct call *c);

#endif
