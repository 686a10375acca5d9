/* How often each expert was chosen, or each of equal runs of neighbours (devices that hold them), in each group of
   tokens: what balance losses take for load. What is no expert counts for nothing. */
#define VERBS "graph/ops/routing.h"
#include "op.h"

VERB struct node *count_chosen(struct graph *g, struct node *index, int experts, int64_t parts, int64_t groups,
                               bool once)
{
    struct count_chosen_attr a = { experts, parts, groups, once };
    return graph_emit(g, &op_count_chosen, &a, index);
}

static int infer(struct node *n, struct err *e)
{
    const struct count_chosen_attr *at = n->attr;
    int64_t tokens = n->in[0]->shape.dim[0];
    if (at->experts % at->parts != 0)
        return err_set(e, "%lld experts cannot be divided into %lld parts", (long long)at->experts,
                       (long long)at->parts);
    if (tokens % at->groups != 0)
        return err_set(e, "%lld tokens cannot be divided into %lld groups", (long long)tokens, (long long)at->groups);
    node_value(n, DTYPE_REAL, SHAPE(at->groups, at->parts));
    node_output(n, DTYPE_REAL, SHAPE(at->groups));          /* all */
    return 0;
}

/* The part that entry j of a token chose, -1: none, or with `once` one that an earlier entry chose. */
static int64_t part_of(const struct count_chosen_attr *at, const int32_t *index, int64_t j)
{
    int64_t size = at->experts / at->parts;
    if (index[j] < 0 || index[j] >= at->experts) return -1;
    for (int64_t i = 0; at->once && i < j; i++)
        if (index[i] >= 0 && index[i] < at->experts && index[i] / size == index[j] / size) return -1;
    return index[j] / size;
}

static void count_groups(const struct args *a, int64_t from, int64_t to)
{
    const struct count_chosen_attr *at = a->attr;
    int64_t k = a->in[0].shape.dim[1], tokens = a->in[0].shape.dim[0] / at->groups, count[at->parts];
    for (int64_t group = from; group < to; group++) {
        int64_t all = 0;
        memset(count, 0, sizeof count);
        for (int64_t t = group * tokens; t < (group + 1) * tokens; t++) {
            const int32_t *index = ints(&a->in[0]) + t * k;
            int64_t chosen = 0;
            for (int64_t j = 0; j < k; j++) {
                int64_t part = part_of(at, index, j);
                if (part < 0) continue;
                count[part]++;
                chosen++;
            }
            all += at->once ? chosen > 0 : chosen;
        }
        for (int64_t i = 0; i < at->parts; i++) reals(&a->out[0])[group * at->parts + i] = (real)count[i];
        reals(&a->out[1])[group] = (real)all;
    }
}

static void forward(const struct args *a)
{
    each(a, ((const struct count_chosen_attr *)a->attr)->groups, 1, count_groups);
}

KERNELS(count_chosen) = { forward, NULL, NULL };

ATTRIBUTES(count_chosen, struct count_chosen_attr,
    INT(struct count_chosen_attr, experts, NEEDED, 1, INT32_MAX, "", "there are"),
    INT(struct count_chosen_attr, parts, NEEDED, 1, INT32_MAX, "", "runs of experts that are counted as one"),
    INT(struct count_chosen_attr, groups, NEEDED, 1, INT32_MAX, "", "of tokens, each counted by itself"),
    BOOL(struct count_chosen_attr, once, NEEDED,
         "a token counts once for a part, however many of its experts it chose"));
OP(count_chosen, .inputs = "index:I32[T,K]",
   .outputs = "count:REAL[G,P] all:REAL[G]",
   .about = "of each group of T / groups tokens how many pairs chose an expert of each part, and how many there are; "
            "with once how many tokens did",
   ATTR(count_chosen), .infer = infer);
