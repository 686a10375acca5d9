/* What planning decides, on a graph small enough to follow by hand: docs/architecture.md explains these numbers. */
#include "graph/ops.h"
#include "plan/plan_private.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

enum { TEXT_MOST = 2048 };

/* Rows that learn to point where the targets do: l = sum of 2 tanh(x w^T) t. */
static void build(struct graph *g)
{
    struct node *x = graph_input(g, "x", DTYPE_REAL, SHAPE(512, 16));
    struct node *t = graph_input(g, "t", DTYPE_REAL, SHAPE(512, 32));
    struct node *w = graph_weight(g, "w", ROLE_Q, SHAPE(32, 16), (struct init){ .value = 0.5 });
    struct node *h = matmul(g, x, w, DTYPE_REAL);           /* [512,32] */
    struct node *a = tanh_of(g, h);
    struct node *s = scale(g, a, 2);
    struct node *l = dot(g, s, t);                          /* [1] */
    graph_loss(g, "l", l, 1, false);
}

static const char *const name[] = { "x", "t", "w", "h", "a", "s", "l" };    /* of nodes, by id */

static const char calls[] =
    "time  pass      call    chain  writes\n"
    "   0  forward   matmul      -  h\n"
    "   1  forward   tanh_of      2  a\n"
    "   1  forward   scale       2  s\n"
    "   2  forward   dot         -  l\n"
    "   3  backward  dot         -  ds\n"
    "   4  backward  scale       5  da\n"
    "   4  backward  tanh_of      5  dh\n"
    "   5  backward  matmul      -  dw\n";

static const char memory[] =
    "tensor  bytes   alive    offset\n"
    "h       65536  0 .. 1         0\n"
    "dh      65536  4 .. 5    196608\n"
    "a       65536  1 .. 4     65536\n"
    "da      65536  4 .. 4    131072\n"
    "s       65536  1 .. 3    131072\n"
    "ds      65536  3 .. 4         0\n"
    "l           4  2 .. 2        64\n"
    "dl          4  3 .. 3    196672\n"
    "arena: 262144 bytes\n";

static void tell(char *to, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    size_t at = strlen(to);
    vsnprintf(to + at, TEXT_MOST - at, format, list);
    va_end(list);
}

static void tell_calls(char *to, const struct plan *p, const struct calls *c)
{
    for (int i = 0; i < c->n; i++) {
        const struct call *call = &c->call[i];
        const struct node *n = call->node;
        char chain[12] = "-", writes[8] = "";
        if (call->chain != NONE) snprintf(chain, sizeof chain, "%d", call->chain);
        for (int k = 0; call->args.din && k < n->n_in; k++)
            if (call->args.din[k].data) snprintf(writes, sizeof writes, "d%s", name[n->in[k]->id]);
        tell(to, "%4d  %-8s  %-6s  %5s  %s\n", p->planned[n->id].time[call->pass],
             call->pass == BACKWARD ? "backward" : "forward", n->op->name, chain,
             call->args.din ? writes : name[n->id]);
    }
}

static void tell_memory(char *to, const struct plan *p)
{
    for (int i = 0; i < p->graph->n; i++) {
        int storages[] = { p->planned[i].value[0], p->planned[i].grad[0] };
        for (int k = 0; k < COUNT(storages); k++) {
            const struct storage *s = &p->storage[storages[k]];
            char tensor[8];
            snprintf(tensor, sizeof tensor, "%s%s", k ? "d" : "", name[i]);
            if (storages[k] != NONE && s->where == IN_ARENA)
                tell(to, "%-6s  %5zu  %d .. %d  %8zu\n", tensor, plan_decl_bytes(p, s->decl), s->from, s->to,
                     s->offset);
        }
    }
    tell(to, "arena: %zu bytes\n", p->report.arena);
}

static void check(const char *what, const char *got, const char *expected)
{
    if (strcmp(got, expected) != 0) fail_msg("%s of the plan are now\n%s", what, got);
}

static void worked_example(void **state)
{
    (void)state;
    struct leaves *l = leaves_new();
    struct graph *g = graph_new(l);
    struct plan *p;
    struct err e;
    char got_calls[TEXT_MOST] = "time  pass      call    chain  writes\n";
    char got_memory[TEXT_MOST] = "tensor  bytes   alive    offset\n";
    build(g);
    assert_false(g->failed);
    assert_int_equal(plan_new(&p, g, (struct plan_how){ &backend_cpu, PRECISION_FP32, RECOMPUTE_NONE }, &e), 0);
    tell_calls(got_calls, p, &p->forward);
    tell_calls(got_calls, p, &p->backward);
    tell_memory(got_memory, p);
    check("calls", got_calls, calls);
    check("liveness and offsets", got_memory, memory);
    plan_free(p);
    graph_free(g);
    leaves_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(worked_example) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
