/* This machine as a cluster: ops by what they take here, messages by what a socket between two processes takes. */
#define _GNU_SOURCE
#include "cluster.h"
#include "graph/ops.h"
#include "graph/signature.h"
#include "train/train.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* By op the time of a unit of work; of those that the timed steps do not have, that of all. */
struct rates { double of[OP_COUNT]; };

/* FLOPs, and bytes as about so many of them. */
static double work_of(double flops, double bytes) { return flops + 8 * bytes; }

static double seconds_of(const void *of, const struct call_cost *c)
{
    return ((const struct rates *)of)->of[op_index(c->node->op)] * work_of(c->flops, c->bytes);
}

/* ---- calls ---- */

static void stage_noise(struct session *s)
{
    int64_t n = s->batch * s->model.seq;
    struct inputs batch = inputs_new(s->batch, s->model.seq);
    for (int64_t i = 0; i < n; i++)
        batch.ids[i] = batch.target[i] = (int32_t)key_below((struct key){ 1, PURPOSE_TEST, 0, 0 }, (uint64_t)i,
                                                            (uint64_t)s->model.vocab);
    for (int micro = 0; micro < s->train.micro; micro++) session_stage(s, micro, &batch);
    inputs_free(batch);
}

static double run_step(struct session *s)
{
    double begin = clock_seconds();
    plan_begin(s->plan, 0, 1, s->train.micro);
    plan_step(s->plan, NULL);
    plan_gather(s->plan);                                   /* waits for the device */
    return clock_seconds() - begin;
}

static int op_called(const char *name)
{
    int op = 0;
    while (strcmp(op_all[op]->name, name) != 0) op++;
    return op;
}

/* What is timed beside the calls is the same again, or none where timing itself is what took it. */
static void time_ops(struct session *s, struct rates *r, double *step)
{
    enum { SECONDS = 2 };
    double until = clock_seconds() + SECONDS, plain = INFINITY, all_seconds = 0, all_work = 0;
    int n, steps = 0;
    for (run_step(s); clock_seconds() < until || steps == 0; steps++) plain = fmin(plain, run_step(s));
    plan_timing(s->plan, true);
    for (int i = 0; i < steps; i++) run_step(s);
    struct op_time *t = plan_times(s->plan, &n);
    plan_timing(s->plan, false);
    for (int i = 0; i < n; i++) {
        all_seconds += t[i].forward_seconds + t[i].backward_seconds;
        all_work += work_of(t[i].flops, t[i].bytes);
    }
    double in_calls = fmin(1, plain * steps / all_seconds);
    for (int i = 0; i < OP_COUNT; i++) r->of[i] = in_calls * all_seconds / all_work;
    for (int i = 0; i < n; i++)
        if (work_of(t[i].flops, t[i].bytes) > 0)
            r->of[op_called(t[i].name)] = in_calls * (t[i].forward_seconds + t[i].backward_seconds) /
                                          work_of(t[i].flops, t[i].bytes);
    *step = fmax(0, plain - in_calls * all_seconds / steps);
    free(t);
}

/* ---- messages ---- */

static bool move(int socket, char *data, size_t bytes, bool out)
{
    for (size_t at = 0; at < bytes; ) {
        ssize_t n = out ? write(socket, data + at, bytes - at) : read(socket, data + at, bytes - at);
        if (n <= 0) return false;
        at += (size_t)n;
    }
    return true;
}

/* Seconds of a message of so many bytes, there and back half. */
static double message_seconds(int socket, char *data, size_t bytes, int times)
{
    double begin = clock_seconds();
    for (int i = 0; i < times; i++)
        if (!move(socket, data, bytes, true) || !move(socket, data, bytes, false)) return NAN;
    return (clock_seconds() - begin) / (2 * times);
}

static bool answer(int socket, char *data, size_t bytes, int times)
{
    for (int i = 0; i < times; i++)
        if (!move(socket, data, bytes, false) || !move(socket, data, bytes, true)) return false;
    return true;
}

static int time_link(struct link *l, struct err *e)
{
    enum { LARGE = 8 << 20, FEW = 8, MANY = 500 };
    int end[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, end)) return err_set(e, "socketpair: %s", strerror(errno));
    char *data = xcalloc(1, LARGE);
    pid_t child = fork();
    if (child == 0) _exit(answer(end[1], data, 1, MANY) && answer(end[1], data, LARGE, FEW) ? 0 : 1);
    close(end[1]);
    double small = child > 0 ? message_seconds(end[0], data, 1, MANY) : NAN,
           large = isnan(small) ? NAN : message_seconds(end[0], data, LARGE, FEW);
    close(end[0]);
    if (child > 0) waitpid(child, NULL, 0);
    free(data);
    if (isnan(large)) return err_set(e, "no message passes between two processes of this machine");
    *l = (struct link){ small, LARGE / fmax(large - small, 1e-9) };
    return 0;
}

int cluster_here(struct cluster **out, const struct variant *v, int devices, struct err *e)
{
    struct session *s;
    struct link link;
    if (time_link(&link, e) || session_new(&s, v->config, 1, e)) return -1;
    struct arena *arena = arena_new();
    struct rates *rates = arena_alloc(arena, sizeof *rates);
    struct cluster *c = *out = arena_alloc(arena, sizeof *c);
    *c = (struct cluster){ .arena = arena, .name = "this machine", .backend = *s->backend,
                           .machine = { .seconds = seconds_of, .of = rates, .node = devices, .inside = link,
                                        .between = link } };
    state_fill(s->state, 1);
    stage_noise(s);
    time_ops(s, rates, &c->machine.step);
    session_free(s);
    c->memory = (double)backend_cpu.room() / devices;
    snprintf(c->about, sizeof c->about, "ops as timed here in steps of %s on one thread, as if each device had a core "
             "of its own; messages as between two processes, %.3g GB/s and %.3g us; memory: what is free, divided",
             v->name, 1e-9 * link.rate, 1e6 * link.latency);
    return 0;
}
