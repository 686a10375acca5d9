/* Threads of the CPU backend: the caller and threads-1 workers, which spin for a moment and then sleep. */
#ifndef SLUICE_POOL_H
#define SLUICE_POOL_H

struct pool;
struct pool *pool_new(int threads);                         /* also flushes denormals to zero, in the caller too */
void pool_free(struct pool *p);
void pool_flush_denormals(void);                            /* to zero, in a thread that is not the pool's */
int pool_cores(void);                                       /* cores that this process may run on */

#endif
