/* One list of numbers a router, from which both forms come. */
#include "views_write.h"
#include "export.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct number { const char *name; double value; };
enum { NUMBERS = 40 };

/* What a router has one of. */
static int numbers_of(const struct view *v, struct number out[NUMBERS])
{
    const struct number all[] = {
        { "max_vio", v->max_vio }, { "max_vio_floor", v->max_vio_floor }, { "dead_frac", v->dead },
        { "drowned_frac", v->drowned }, { "gate_largest", v->gates.largest }, { "gate_max", v->gates.most },
        { "gate_sum", v->gates.sum }, { "gate_effective", v->gates.effective }, { "margin_mean", v->margins.mean },
        { "margin_median", v->margins.median }, { "margin_below_rounding", v->margins.rounded },
        { "margin_below_bias_change", v->margins.reached }, { "bias_change", v->reach },
        { "coactivation_chance", v->together_chance }, { "coactivation_adjacent_chance", v->adjacent_chance },
        { "vocabulary_input", v->input }, { "vocabulary_input_chance", v->input_chance },
        { "vocabulary_next", v->next }, { "vocabulary_next_chance", v->next_chance },
        { "class_information", v->class }, { "class_information_chance", v->class_chance },
        { "path_information", v->path }, { "path_information_chance", v->path_chance },
        { "output_rms", v->output.median }, { "output_rms_least", v->output.least },
        { "output_rms_most", v->output.most }, { "weight_norm", v->weight.median },
        { "weight_norm_least", v->weight.least }, { "weight_norm_most", v->weight.most },
        { "score_high", v->route->score_high }, { "score_low", v->route->score_low },
        { "down_cosine", v->route->down_cosine }, { "router_cosine", v->route->row_cosine } };
    _Static_assert(COUNT(all) <= NUMBERS, "more numbers than room");
    memcpy(out, all, sizeof all);
    return COUNT(all);
}

/* ---- JSON ---- */


static json_t *list_of(const double *x, int64_t n)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < n; i++) json_array_append_new(list, export_number(x[i]));
    return list;
}

static json_t *square_of(const double *x, int64_t n)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < n; i++) json_array_append_new(list, list_of(x + i * n, n));
    return list;
}

static json_t *histogram_of(const struct margins *m)
{
    json_t *from = json_array(), *rows = json_array();
    for (int i = 0; i <= MARGIN_BINS; i++) {
        json_array_append_new(from, json_real(choices_bin(i)));
        json_array_append_new(rows, json_integer(m->bin[i]));
    }
    return json_pack("{s:o, s:o}", "from", from, "tokens", rows);
}

/* Of each domain the share of its tokens that goes to each expert. */
static json_t *domains_json(const struct views *v, int router)
{
    json_t *all = json_object();
    double *share = xcalloc((size_t)v->last.route[router].experts + 1, sizeof *share), chance;
    for (int i = 0; i < v->n_domains; i++) {
        views_shares(&v->domain[i], router, share, &chance);
        json_object_set_new(all, v->domain[i].name, json_pack("{s:I, s:f, s:o}", "tokens",
                            (json_int_t)v->domain[i].routes.route[router].rows, "chance", chance, "share",
                            list_of(share, v->last.route[router].experts)));
    }
    free(share);
    return all;
}

static json_t *router_json(const struct view *v)
{
    const struct route *r = v->route;
    struct number number[NUMBERS];
    json_t *j = json_pack("{s:s, s:i, s:i, s:i, s:i, s:I}", "router", r->name, "layer", r->layer, "experts", r->experts,
                          "idle", r->idle, "columns", r->k, "tokens", (json_int_t)r->rows);
    for (int i = 0, n = numbers_of(v, number); i < n; i++)
        json_object_set_new(j, number[i].name, export_number(number[i].value));
    json_object_set_new(j, "expert_tokens", list_of(v->count, r->experts));
    json_object_set_new(j, "expert_output_rms", list_of(v->output_rms, r->experts));
    json_object_set_new(j, "expert_weight_norm", list_of(r->weight_norm, r->experts - r->idle));
    json_object_set_new(j, "coactivation", square_of(v->together, r->experts));
    json_object_set_new(j, "coactivation_adjacent", square_of(v->adjacent, r->experts));
    if (v->margins.known) json_object_set_new(j, "margin", histogram_of(&v->margins));
    return j;
}

json_t *views_write_json(const struct run *r, const struct views *v)
{
    json_t *routers = json_array(), *steps = json_array();
    for (int i = 0; i < v->last.n; i++) {
        json_t *router = router_json(&v->view[i]);
        if (v->n_domains) json_object_set_new(router, "domains", domains_json(v, i));
        json_array_append_new(routers, router);
    }
    for (int i = 0; i < v->n_moments; i++) {
        const struct moment *m = &v->moment[i];
        json_array_append_new(steps, json_pack("{s:I, s:o, s:o, s:o, s:o}", "step", (json_int_t)m->step, "loss",
                                               export_number(m->loss), "saturation", list_of(m->shared, v->last.n),
                                               "saturation_chance", list_of(m->chance, v->last.n), "kept",
                                               list_of(m->kept, v->last.n)));
    }
    return json_pack("{s:s, s:i, s:s, s:I, s:I, s:o, s:o, s:o, s:o, s:o}", "format", "sluice-routing", "version", 1,
                     "run", r->name, "step", (json_int_t)v->last.step, "tokens", (json_int_t)v->last.tokens, "loss",
                     export_number(v->last.loss), "leak", export_number(v->leak), "routers", routers, "steps", steps,
                     "loss_without_best", list_of(v->closed, v->n_closed));
}

/* ---- CSV ---- */

struct csv { FILE *to; const struct route *route; int64_t step; };

/* expert, other: -1: none. What is no number is left out. */
static void line(const struct csv *c, const char *metric, int64_t expert, int64_t other, double value)
{
    if (isnan(value)) return;
    fprintf(c->to, "%lld,", (long long)c->step);
    if (c->route) fprintf(c->to, "%d,%s,%s,", c->route->layer, c->route->name, metric);
    else fprintf(c->to, ",,%s,", metric);
    if (expert >= 0) fprintf(c->to, "%lld", (long long)expert);
    fputc(',', c->to);
    if (other >= 0) fprintf(c->to, "%lld", (long long)other);
    fputc(',', c->to);
    export_real(c->to, value);
    fputc('\n', c->to);
}

static void router_lines(const struct csv *c, const struct view *v)
{
    struct number number[NUMBERS];
    int64_t experts = c->route->experts;
    for (int i = 0, n = numbers_of(v, number); i < n; i++) line(c, number[i].name, -1, -1, number[i].value);
    for (int64_t i = 0; i < experts; i++) line(c, "expert_tokens", i, -1, v->count[i]);
    for (int64_t i = 0; i < experts; i++) line(c, "expert_output_rms", i, -1, v->output_rms[i]);
    for (int64_t i = 0; i < experts - c->route->idle; i++)
        line(c, "expert_weight_norm", i, -1, c->route->weight_norm[i]);
    for (int64_t i = 0; i < experts * experts; i++) line(c, "coactivation", i / experts, i % experts, v->together[i]);
    for (int64_t i = 0; i < experts * experts; i++)
        line(c, "coactivation_adjacent", i / experts, i % experts, v->adjacent[i]);
    for (int i = 0; v->margins.known && i <= MARGIN_BINS; i++)
        line(c, "margin_tokens", i, -1, (double)v->margins.bin[i]);
}

static void domain_lines(const struct csv *c, const struct views *v, int router)
{
    double *share = xcalloc((size_t)c->route->experts + 1, sizeof *share), chance;
    for (int i = 0; i < v->n_domains; i++) {
        char metric[128];
        views_shares(&v->domain[i], router, share, &chance);
        snprintf(metric, sizeof metric, "domain_share.%s", v->domain[i].name);
        for (int e = 0; e < c->route->experts; e++) line(c, metric, e, -1, share[e]);
        snprintf(metric, sizeof metric, "domain_chance.%s", v->domain[i].name);
        line(c, metric, -1, -1, chance);
    }
    free(share);
}

void views_write_csv(const struct views *v, FILE *to)
{
    fputs("step,layer,router,metric,expert,other,value\n", to);
    for (int i = 0; i < v->last.n; i++) {
        struct csv c = { to, &v->last.route[i], v->last.step };
        router_lines(&c, &v->view[i]);
        domain_lines(&c, v, i);
    }
    for (int i = 0; i < v->n_moments; i++) {
        const struct moment *m = &v->moment[i];
        line(&(struct csv){ to, NULL, m->step }, "loss", -1, -1, m->loss);
        for (int r = 0; r < v->last.n; r++) {
            struct csv c = { to, &v->last.route[r], m->step };
            line(&c, "saturation", -1, -1, m->shared[r]);
            line(&c, "saturation_chance", -1, -1, m->chance[r]);
            line(&c, "kept", -1, -1, m->kept[r]);
        }
    }
    line(&(struct csv){ to, NULL, v->last.step }, "leak", -1, -1, v->leak);
    for (int i = 0; i < v->n_closed; i++)
        line(&(struct csv){ to, NULL, v->last.step }, "loss_without_best", i + 1, -1, v->closed[i]);
}
