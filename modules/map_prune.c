/* Some of the experts stay, in each layer as many as the model has, with their rows of the router and what balancing
   adds to their scores. Those of a list, the same in all layers; or layer by layer those that got the most tokens when
   the other model was evaluated last, or whose weights have the largest norm. */
#include "model/module.h"

enum { BY_LIST, BY_LOAD, BY_NORM };
struct conf { struct ints experts; int by; };
static const struct param params[] = {
    INTS(struct conf, experts, 0, 4095, "those that stay, from 0, in ascending order"),
    CHOICE(struct conf, by, BY_LIST, "list load norm",
           "which stay: the list `experts`; those of most tokens in the last evaluation, or step where there was none; "
           "those whose weights have the largest norm"),
    { 0 }
};

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    (void)model;
    const struct conf *c = self.conf;
    for (int i = 1; i < c->experts.n; i++)
        if (c->experts.value[i] <= c->experts.value[i - 1])
            module_problem(problems, path, "experts", "%d: comes after %d; the list ascends", c->experts.value[i],
                           c->experts.value[i - 1]);
    if (c->by == BY_LIST && c->experts.n == 0)
        module_problem(problems, path, "experts", "is missing: which experts stay? Or by = \"load\", \"norm\"");
    if (c->by != BY_LIST && c->experts.n > 0)
        module_problem(problems, path, "experts", "names experts, and `by` says which stay: take one of them");
}

/* Whether k stays where `own` of so many do: of those that score alike the first. */
static bool is_among(const double *score, int64_t n, int64_t k, int64_t own)
{
    int64_t before = 0;
    for (int64_t i = 0; i < n; i++) before += score[i] > score[k] || (score[i] == score[k] && i < k);
    return before < own;
}

/* Before a run begins the first stand for those whose scores are largest. */
static void choose(struct mapping *m, const struct conf *c, const struct expert_stacks *x, int32_t *place)
{
    struct err why;
    const double *score = NULL;
    int64_t n = 0;
    if (c->by != BY_LIST && m->donor->judge) {
        score = m->donor->judge(m->donor, c->by == BY_LOAD ? EXPERT_LOAD : EXPERT_NORM, x->layer, x->its, &why);
        if (!score) mapping_fail(m, "init.map.by: %s", why.text);
    }
    for (int64_t k = 0; k < x->its && n < x->own; k++)
        if (!score || is_among(score, x->its, k, x->own)) place[n++] = (int32_t)k;
    for (int i = 0; i < c->experts.n; i++) place[i] = c->experts.value[i];
    for (int64_t e = x->own; e < x->places; e++) place[e] = (int32_t)(e - x->own + x->its);      /* idle ones stay */
}

static struct made map(struct mapping *m, struct pick self, const struct leaf *l)
{
    static const char *const how[] = { "%lld of %lld", "the %lld of %lld with the most tokens",
                                       "the %lld of %lld with the largest norm" };
    const struct conf *c = self.conf;
    struct expert_stacks x;
    if (!mapping_expert_stacks(m, l, &x)) return mapping_as(m, l, l->path, NULL);
    if (x.own > x.its || x.own_width != x.its_width)
        return mapping_fail(m, "%s: of %lld experts of width %lld in %s %lld of width %lld cannot stay", l->path,
                            (long long)x.its, (long long)x.its_width, m->start->run, (long long)x.own,
                            (long long)x.own_width);
    if (c->by == BY_LIST && c->experts.n != x.own)
        return mapping_fail(m, "init.map.experts: names %d experts, and layer %d has %lld", c->experts.n, x.layer,
                            (long long)x.own);
    if (c->by == BY_LIST && c->experts.value[c->experts.n - 1] >= x.its)
        return mapping_fail(m, "init.map.experts: expert %d is to stay, and %s has %lld, counted from 0",
                            c->experts.value[c->experts.n - 1], m->start->run, (long long)x.its);
    int32_t *place = mapping_places(m, x.places);
    choose(m, c, &x, place);
    const char *text = arena_text(m->arena, how[c->by], (long long)x.own, (long long)x.its);
    for (int i = 0; i < c->experts.n; i++)
        text = arena_text(m->arena, "%s%s %d", text, i ? "" : ":", c->experts.value[i]);
    return mapping_of(m, text, 1, &(struct donation){ .from = x.from, .matrix = place, .by = 1, .per_expert = true });
}

const struct module map_prune = {
    .slot = SLOT_MAP, .name = "prune", .about = "some of the experts stay, by a list, their load or their norm",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .map = map,
};
