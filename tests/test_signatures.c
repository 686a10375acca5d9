/* What ops say of themselves is so: values of every case have the shapes and dtypes that are written, attributes have a
   row each, and a node that is made by names is the node that the verb makes. */
#include "graph/signature.h"
#include "op_cases.h"

static const struct op_case cases[] = { CASES(BENCH_CASE) LARGE_CASES(BENCH_CASE) };

/* A case in a graph of its own. */
static struct node *case_new(const struct op_case *c, struct graph **g)
{
    bench_rules = 0;
    *g = graph_new(leaves_new());
    if (op_all[c->op]->outputs && strchr(op_all[c->op]->inputs, '*')) (*g)->region = REGION_UPDATE;
    struct node *n = c->build(*g);
    if ((*g)->failed) fail_msg("%s: %s", c->name, (*g)->err.text);
    while (n->op->kind == OP_ALIAS || n->op == &op_result) n = n->in[0];
    return n;
}

static void case_free(struct graph *g)
{
    struct leaves *l = g->leaves;
    graph_free(g);
    leaves_free(l);
}

static void test_values(void **state)
{
    (void)state;
    for (int j = 0; j < COUNT(cases); j++) {
        struct graph *g;
        struct node *n = case_new(&cases[j], &g);
        struct extents x = { .has_rest = false };
        struct op_value value;
        struct err e;
        for (int i = 0; i < n->n_in; i++) {
            assert_true(op_input(n->op, i, &value));
            if (!n->in[i]) assert_true(value.optional);
            else if (op_fits(&x, &value, (struct decl){ n->in[i]->shape, n->in[i]->dtype }, &e) != 0)
                fail_msg("%s: input %s", cases[j].name, e.text);
        }
        for (int k = 0; k < n->n_out; k++) {
            if (!op_output(n->op, k, &value)) fail_msg("%s: output %d has no name", cases[j].name, k);
            if (op_fits(&x, &value, n->out[k], &e) != 0) fail_msg("%s: output %s", cases[j].name, e.text);
        }
        case_free(g);
    }
}

/* Each byte of an attribute is one row's, or 0. */
static void test_attributes(void **state)
{
    (void)state;
    for (int j = 0; j < COUNT(cases); j++) {
        struct graph *g;
        struct node *n = case_new(&cases[j], &g);
        uint8_t rows[128] = { 0 };
        assert_true(n->attr_size <= sizeof rows && n->attr_size == n->op->attr_size);
        assert_true(!n->attr_size == !n->op->attributes);
        for (const struct param *p = n->op->attributes; p && p->name; p++)
            for (size_t b = p->offset; b < p->offset + p->size; b++) {
                if (b >= n->attr_size || rows[b]) fail_msg("%s: '%s' overlaps", cases[j].name, p->name);
                rows[b] = 1;
            }
        for (size_t b = 0; b < n->attr_size; b++)
            if (!rows[b] && ((const uint8_t *)n->attr)[b])
                fail_msg("%s: byte %zu of the attributes has no row", cases[j].name, b);
        case_free(g);
    }
}

static int64_t whole_of(const struct param *p, const void *attr)
{
    const char *at = (const char *)attr + p->offset;
    return p->size == sizeof(int) ? *(const int *)at : *(const int64_t *)at;
}

/* An attribute as a script would give it. */
static struct named given_of(const struct param *p, const void *attr, char word[16])
{
    struct named v = { .name = p->name };
    if (p->type == PARAM_REAL) v.kind = GIVEN_REAL, v.real = *(const double *)((const char *)attr + p->offset);
    else v.kind = p->type == PARAM_BOOL ? GIVEN_BOOL : GIVEN_INT, v.integer = whole_of(p, attr);
    if (p->type != PARAM_CHOICE) return v;
    int length;
    const char *at = param_word(p->choices, (int)v.integer, &length);
    snprintf(word, 16, "%.*s", length, at);
    return (struct named){ .name = p->name, .kind = GIVEN_WORD, .word = word };
}

static void test_calls(void **state)
{
    (void)state;
    for (int j = 0; j < COUNT(cases); j++) {
        struct graph *g;
        struct node *n = case_new(&cases[j], &g);
        struct named given[32];
        struct op_value value[16];
        char word[32][16];
        int count = 0;
        for (int i = 0; i < n->n_in; i++) {
            op_input(n->op, i, &value[i]);
            given[count] = (struct named){ .name = value[i].name, .kind = GIVEN_NODE,
                                           .n = value[i].many ? n->n_in : 1, .nodes = &n->in[i] };
            if (n->in[i]) count++;
            if (value[i].many) break;
        }
        for (const struct param *p = n->op->attributes; p && p->name; p++, count++)
            given[count] = given_of(p, n->attr, word[count]);
        struct node *twin = graph_call(g, n->op->name, count, given);
        if (g->failed) fail_msg("%s: %s", cases[j].name, g->err.text);
        assert_true(twin->op == n->op && twin->n_in == n->n_in && twin->n_out == n->n_out);
        assert_true(n->carry == twin->carry);
        if (n->attr_size && memcmp(n->attr, twin->attr, n->attr_size) != 0) fail_msg("%s: attributes", cases[j].name);
        for (int k = 0; k < n->n_out; k++) assert_true(shape_equal(n->out[k].shape, twin->out[k].shape));
        case_free(g);
    }
}

static void refuses_call(const char *op, const char *words, int n, const struct named *given, struct graph *g)
{
    graph_call(g, op, n, given);
    assert_true(g->failed);
    if (!strstr(g->err.text, words)) fail_msg("'%s' lacks '%s'", g->err.text, words);
    g->failed = false;
}

static void test_refusals(void **state)
{
    (void)state;
    struct graph *g = graph_new(leaves_new());
    struct node *x = graph_input(g, "x", DTYPE_REAL, SHAPE(3, 4)), *y = graph_input(g, "y", DTYPE_REAL, SHAPE(3, 2)),
                *ids = graph_input(g, "ids", DTYPE_I32, SHAPE(3, 2));
#define NODE(of, node) { .name = of, .kind = GIVEN_NODE, .n = 1, .nodes = &node }
#define WHOLE(of, value) { .name = of, .kind = GIVEN_INT, .integer = value }
#define WORD(of, value) { .name = of, .kind = GIVEN_WORD, .word = value }
#define REFUSES(op, words, ...) \
    refuses_call(op, words, COUNT(((struct named[]){ __VA_ARGS__ })), (struct named[]){ __VA_ARGS__ }, g)
    REFUSES("topc", "no op 'topc' (did you mean 'topk'?)", NODE("key", x));
    REFUSES("topk", "no input or attribute 'keys' (did you mean 'key'?)", NODE("keys", x), WHOLE("k", 2));
    REFUSES("topk", "input 'key' is missing", WHOLE("k", 2));
    REFUSES("topk", "'k' is missing", NODE("key", x));
    REFUSES("topk", "k = 0, it must be at least 1", NODE("key", x), WHOLE("k", 0));
    REFUSES("topk", "'key' must be a node", WHOLE("key", 1), WHOLE("k", 2));
    REFUSES("topk", "'k' must be an integer", NODE("key", x), { .name = "k", .kind = GIVEN_REAL, .real = 1.5 });
    REFUSES("topk", "'key' is I32, REAL is needed", NODE("key", ids), WHOLE("k", 2));
    REFUSES("carry", "'how' must be one of: sum mean max last", NODE("x", x), WORD("how", "least"));
    REFUSES("softcap", "'p' must be a number", NODE("x", x), WORD("p", "2"));
    REFUSES("softcap", "p is no number", NODE("x", x), { .name = "p", .kind = GIVEN_REAL, .real = NAN });
    REFUSES("columns", "n = 4294967296, it must be at most 2147483647", NODE("x", x), WHOLE("from", 0),
            WHOLE("n", 1ll << 32));
    REFUSES("mul", ".. is [3,4] in 'x', not [3,2]", NODE("x", x), NODE("y", y));
    case_free(g);
}

/* A page and a binding can be made of it: every op says what it is, and its words are whole. */
static void test_texts(void **state)
{
    (void)state;
    for (int i = 0; op_all[i]; i++) {
        const struct op *op = op_all[i];
        struct op_value value;
        int n = 0;
        assert_true(op_index(op) == i && op->about && *op->about);
        for (; op_input(op, n, &value); n++) {
            if (strlen(value.name) + 1 >= sizeof value.name || strlen(value.shape) + 1 >= sizeof value.shape)
                fail_msg("%s: '%s' may be cut", op->name, value.name);
            if (value.many) break;
        }
        assert_true(n > 0 || value.many);
        for (const struct param *p = op->attributes; p && p->name; p++)
            assert_true(*p->help && (p->type != PARAM_CHOICE || *p->choices));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values), cmocka_unit_test(test_attributes), cmocka_unit_test(test_calls),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
