/* From answers and passages to numbers with errors. */
#include "eval.h"
#include "stats.h"

#include <math.h>
#include <stdlib.h>

double *eval_values(const struct exam *x, const struct measure *m)
{
    double *value = xcalloc((size_t)x->n + 1, sizeof *value);
    for (int i = 0; i < x->n; i++) value[i] = m->of(&x->of[i]);
    return value;
}

struct estimate eval_estimate(const struct exam *x, const struct measure *m)
{
    double *value = eval_values(x, m);
    struct estimate s = shares_mean(value, x->n);
    free(value);
    return s;
}

double eval_baseline(const struct exam *x, const struct measure *m, const struct measure *baseline)
{
    double *value = eval_values(x, baseline);
    for (int i = 0; i < x->n; i++) if (isnan(m->of(&x->of[i]))) value[i] = NAN;
    double mean = shares_mean(value, x->n).mean;
    free(value);
    return mean;
}

double eval_p(const struct measure *m, const struct exam *here, const struct exam *there, struct paired *d)
{
    double *a = eval_values(here, m), *b = eval_values(there, m);
    int n = 0;
    *d = shares_paired(a, b, here->n);
    for (int i = 0; i < here->n; i++) {
        if (isnan(a[i]) || isnan(b[i])) continue;
        a[n] = a[i];
        b[n++] = b[i];
    }
    double p = !m->share ? stats_paired(a, b, n, STATS_LEVEL).p
             : d->here + d->there < SHARES_EXACT ? d->p : d->mid_p;
    free(a);
    free(b);
    return p;
}

struct estimate eval_grouped(const struct sitting *s, const struct measure *m, struct group **out, int *n,
                             struct estimate *macro)
{
    double *value = eval_values(&s->here, m), *one = xcalloc((size_t)s->here.n + 1, sizeof *one);
    int *of = xcalloc((size_t)s->here.n + 1, sizeof *of);
    struct group *group = xcalloc((size_t)s->here.n + 1, sizeof *group);
    *n = 0;
    for (int i = 0; i < s->here.n; i++) {
        const char *name = s->questions.question[i].group;
        int g = 0;
        while (g < *n && strcmp(group[g].name, name)) g++;
        if (g == *n) group[(*n)++].name = name;
        of[i] = g;
    }
    for (int g = 0; g < *n; g++) {
        for (int i = 0; i < s->here.n; i++) one[i] = of[i] == g ? value[i] : NAN;
        group[g].estimate = shares_mean(one, s->here.n);
    }
    struct grouped all = shares_grouped(value, of, s->here.n, *n);
    free(value);
    free(one);
    free(of);
    *out = group;
    *macro = all.groups;
    return all.items;
}

/* ---- domains ---- */

static struct estimate bits(const double *nats, const struct passages *p)
{
    struct estimate s = shares_ratio(nats, p->bytes, p->n);
    s.mean /= log(2);
    s.error /= log(2);
    return s;
}

struct estimate eval_bits_here(const struct domain *d) { return bits(d->here.nats, &d->here); }
struct estimate eval_bits_there(const struct domain *d) { return bits(d->there.nats, &d->there); }

struct estimate eval_bits_difference(const struct domain *d)
{
    double *more = xcalloc((size_t)d->here.n + 1, sizeof *more);
    for (int i = 0; i < d->here.n; i++) more[i] = d->here.nats[i] - d->there.nats[i];
    struct estimate s = bits(more, &d->here);
    free(more);
    return s;
}

struct estimate eval_macro(const struct evaluated *v, struct estimate (*of)(const struct domain *d))
{
    struct estimate macro = { v->domains, 0, 0 };
    for (int i = 0; i < v->domains; i++) {
        struct estimate one = of(&v->domain[i]);
        macro.mean += one.mean / v->domains;
        macro.error += one.error * one.error;
    }
    macro.error = sqrt(macro.error) / v->domains;
    return macro;
}
