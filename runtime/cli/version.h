/* What this program is: for --version and for sluice doctor. */
#ifndef SLUICE_CLI_VERSION_H
#define SLUICE_CLI_VERSION_H

extern const char version_number[];
/* revision: of the source; build: kind and compiler; libraries: those that run, not those that it was built with. */
struct version { char revision[64], build[96], libraries[128]; };
struct version version_here(void);
void version_print(void);

#endif
