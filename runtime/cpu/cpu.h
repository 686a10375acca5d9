/* Parts of the CPU backend. */
#ifndef SLUICE_CPU_H
#define SLUICE_CPU_H

struct fill;
void cpu_fill(void *device, const struct fill *f);

#endif
