/* sluice plan --devices: every layout of a variant is tried, and what comes of it is sorted. */
#include "scale.h"
#include "scale_options.h"

#include <stdlib.h>
#include <string.h>

static int by_merit(const void *a, const void *b)
{
    const struct trial *x = a, *y = b;
    if (x->fate != y->fate) return (int)x->fate - (int)y->fate;
    double more = x->fate == FATE_FITS ? x->step.seconds - y->step.seconds : (double)x->most - (double)y->most;
    return (more > 0) - (more < 0);
}

static void try_all(struct scale *s, const json_t *config, const struct layout *said)
{
    struct layouts all = layouts_all(config, s->devices, said);
    s->n = all.n;
    s->trial = xcalloc((size_t)all.n + 1, sizeof *s->trial);
    for (int i = 0; i < all.n; i++) {
        s->trial[i].layout = all.layout[i];
        trial_run(&s->trial[i], config, s->cluster, false);
        s->count[s->trial[i].fate]++;
    }
    free(all.layout);
    qsort(s->trial, (size_t)s->n, sizeof *s->trial, by_merit);
}

static enum code find_cluster(const struct call *c, const struct variant *v, int devices, struct cluster **out)
{
    struct err e;
    struct problems problems = { 0 };
    const char *path = cli_value(c, "cluster", NULL);
    if (!path) return cluster_here(out, v, devices, &e) ? cli_fail(CODE_DEVICE, "%s", e.text) : CODE_OK;
    if (cluster_read(out, path, &problems, &e)) return cli_fail(CODE_INPUT, "%s", e.text);
    enum code code = problems.found ? CODE_INPUT : CODE_OK;
    for (int i = 0; i < problems_kept(&problems); i++)
        cli_fail(code, "%s: %s: %s", path, problems.problem[i].path, problems.problem[i].text);
    problems_free(&problems);
    return code;
}

/* The best, or the one that is named, once more, and drawn. */
static enum code draw(const struct call *c, const struct scale *s, const json_t *config)
{
    const char *path = cli_value(c, "timeline", NULL);
    struct err e;
    if (!path) return CODE_OK;
    if (s->count[FATE_FITS] == 0) return cli_fail(CODE_SCRIPT, "--timeline: no layout fits, so none is drawn");
    struct trial best = { .layout = s->trial[0].layout };
    trial_run(&best, config, s->cluster, true);
    int failure = scale_draw(s, &best, path, &e);
    trial_free(&best);
    return failure ? cli_fail(CODE_FAILURE, "%s", e.text) : CODE_OK;
}

/* Layouts that were not tried leave nothing to choose from. */
static enum code none(const struct scale *s)
{
    return cli_fail(CODE_SCRIPT, "%d devices: no layout %s", s->devices,
                    s->n ? "can be had; --refused says why of each" : "has what --layout says as its factors");
}

static enum code scale_variant(const struct call *c, struct scale *s, const struct variant *v)
{
    struct layout said;
    struct err e;
    int64_t top = 20;
    if (cli_integer(c, "top", 1, 100000, &top)) return CODE_USAGE;
    if (layout_read(&said, cli_value(c, "layout", ""), &e)) return cli_usage(c, "--layout %s", e.text);
    struct cluster *cluster = NULL;
    enum code code = find_cluster(c, v, s->devices, &cluster);
    s->cluster = cluster;
    if (!code) {
        try_all(s, v->config, &said);
        if (cli_flag(c, "json")) cli_json(scale_json(s));
        else scale_print(s, (int)top, cli_flag(c, "refused"));
        code = s->n == s->count[FATE_REFUSED] ? none(s) : draw(c, s, v->config);
    }
    for (int i = 0; i < s->n; i++) trial_free(&s->trial[i]);
    free(s->trial);
    cluster_free(cluster);
    return code;
}

enum code scale_study(const struct call *c, const struct study *study)
{
    int64_t devices = 0;
    int variant = cli_value(c, "variant", NULL) ? script_variant(c, "variant", study) : study->baseline;
    if (cli_integer(c, "devices", 1, 1 << 20, &devices) || variant < 0) return CODE_USAGE;
    const struct variant *v = &study->variant[variant];
    struct scale s = { .variant = v->name, .devices = (int)devices,
                       .tokens = (double)config_integer(v->config, "train.batch") *
                                 (double)config_integer(v->config, "model.seq") };
    return scale_variant(c, &s, v);
}

int scale_agrees(const struct call *c)
{
    static const char *const needs[] = { "cluster", "layout", "variant", "refused", "top", "timeline" };
    for (int i = 0; i < COUNT(needs) && !cli_value(c, "devices", NULL); i++)
        if (cli_value(c, needs[i], NULL) || cli_flag(c, needs[i])) {
            cli_usage(c, "--%s: of --devices N, which is not given", needs[i]);
            return -1;
        }
    return 0;
}
