/* Which run, which layers, and columns of its rows. */
#include "figure_experts.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMNS = 240 };                                     /* more would not be seen */

bool experts_has(const struct experts *x, int64_t layer)
{
    for (int64_t i = 0; i < x->experts && x->curve.rows; i++)
        if (!isnan(x->curve.value[layer * x->experts + i])) return true;
    return false;
}

/* Load is of the experts that compute. */
static void leave_idle(struct experts *x)
{
    int64_t *idle = metric_idle(x->run, x->router, x->layers);
    for (int64_t i = 0; i < x->layers; i++) x->idle |= idle[i] > 0;
    double *computing = routing_computing(&(struct loads){ x->curve.rows, x->layers, x->experts, x->curve.value,
                                                           .idle = idle });
    free(idle);
    free(x->curve.value);
    x->curve.value = computing;
}

/* The counts of the router that is asked for, or of the first that there is. */
static const struct reader_series *counts_of(struct reader *reader, const char *asked, const char **router)
{
    const struct reader_series *found = NULL;
    for (const char *const *at = routing_routers; *at && !found; at++) {
        char name[64];
        snprintf(name, sizeof name, "train.%sexpert_tokens", *at);
        *router = *at;
        if (!asked || !strcmp(asked, name)) found = reader_find(reader, STORE_TRAIN, name + strlen("train."));
    }
    return found;
}

int experts_read(struct experts *x, const struct runs *all, const struct plot_options *o, struct err *e)
{
    struct run *r = runs_choose(all, o->variant, o->replicate, e);
    if (!r) return -1;
    struct reader *reader = run_reader(r);
    const char *router;
    const struct reader_series *tokens = reader ? counts_of(reader, o->metric, &router) : NULL;
    if (!tokens && o->metric)
        return err_set(e, "%s (%s) has no expert counts '%s': train.expert_tokens, train.attention_expert_tokens",
                       r->name, condition_name(r->condition), o->metric);
    if (!tokens) return err_set(e, "%s (%s) has no expert counts", r->name, condition_name(r->condition));
    *x = (struct experts){ .run = r, .router = router, .layers = tokens->dim[0],
                           .experts = tokens->rank > 1 ? tokens->dim[1] : 1 };
    if (metric_read(r, &(struct metric){ .series = *tokens }, &x->curve, e)) return -1;
    leave_idle(x);
    for (int64_t layer = 0; layer < x->layers; layer++) x->shown += experts_has(x, layer);
    if (!x->shown) {
        curve_free(&x->curve);
        return err_set(e, "%s (%s): no layer has counted a token yet", r->name, condition_name(r->condition));
    }
    int64_t rows = x->curve.rows;
    if (rows <= COLUMNS) snprintf(x->pace, sizeof x->pace, "in each step");
    else
        snprintf(x->pace, sizeof x->pace, "in columns of %lld or %lld steps", (long long)(rows / COLUMNS),
                 (long long)((rows + COLUMNS - 1) / COLUMNS));
    if (x->idle) strcat(x->pace, "; idle experts left out");
    return 0;
}

void experts_free(struct experts *x) { curve_free(&x->curve); }

int64_t experts_columns(const struct experts *x) { return x->curve.rows < COLUMNS ? x->curve.rows : COLUMNS; }

void experts_column(const struct experts *x, int64_t layer, int64_t at, struct column *c)
{
    const struct curve *curve = &x->curve;
    int64_t columns = experts_columns(x), rows = curve->rows;
    double width = (double)(curve->step[rows - 1] - curve->step[0]) / (double)(columns > 1 ? columns - 1 : 1);
    c->first = at * rows / columns;
    c->end = (at + 1) * rows / columns;
    c->step = (double)curve->step[0] + width * (double)at;
    c->total = 0;
    c->own = 0;
    for (int64_t i = 0; i < x->experts; i++) {
        c->tokens[i] = 0;
        for (int64_t row = c->first; row < c->end; row++)
            c->tokens[i] += curve->value[(row * x->layers + layer) * x->experts + i];
        if (isnan(c->tokens[i])) continue;
        c->own++;
        c->total += c->tokens[i];
    }
}
