/* The line: a ring of errands, a thread that does them, and counts of what was put and what is done. */
#define _GNU_SOURCE
#include "line.h"
#include "pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROOM = 64 };
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool there;
    int64_t put, done;
    struct errand errand[ROOM];
} line = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static void do_errand(struct errand *e)
{
    e->args.device = NULL;                                  /* the pool is the other thread's */
    if (e->run) e->run(&e->args);
    else comm_here()->reduce(e->data, e->n, e->how, e->over);
}

static void *work(void *unused)
{
    (void)unused;
    pool_flush_denormals();
    pthread_mutex_lock(&line.lock);
    for (;;) {
        while (line.done == line.put) pthread_cond_wait(&line.changed, &line.lock);
        struct errand *next = &line.errand[line.done % ROOM];
        pthread_mutex_unlock(&line.lock);
        do_errand(next);
        pthread_mutex_lock(&line.lock);
        line.done++;
        pthread_cond_broadcast(&line.changed);
    }
    return NULL;
}

/* Signals are the main thread's. */
static void begin(void)
{
    pthread_t thread;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failure = pthread_create(&thread, NULL, work, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failure) {
        fprintf(stderr, "a thread for messages between ranks cannot be started: %s\n", strerror(failure));
        exit(1);
    }
    pthread_detach(thread);
    line.there = true;
}

static void wait_done(int64_t number) { while (line.done < number) pthread_cond_wait(&line.changed, &line.lock); }

int64_t line_put(struct errand e)
{
    pthread_mutex_lock(&line.lock);
    if (!line.there) begin();
    wait_done(line.put + 1 - ROOM);
    line.errand[line.put % ROOM] = e;
    int64_t number = ++line.put;
    pthread_cond_broadcast(&line.changed);
    pthread_mutex_unlock(&line.lock);
    return number;
}

void line_settle(int64_t number)
{
    pthread_mutex_lock(&line.lock);
    wait_done(number < line.put ? number : line.put);
    pthread_mutex_unlock(&line.lock);
}
