/* sluice routing: asks the routers of a trained run. */
#include "status.h"
#include "views_write.h"
#include "base/file.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct option options[] = {
    { "tokens", 'n', "N", "held-out tokens to ask with, the first ones (8192); 0: all" },
    { "against", 'a', "STEP", "the checkpoint that is described, and that others are held against (the newest)" },
    { "closed", 'c', "R", "also the loss without each token's best expert, without the best two, .. R (0)" },
    { "domain", 0, "NAME=FILE", "also held-out text of another token file, to see who specialises; may be repeated" },
    { "variant", 0, "NAME", "of a study: which variant (the baseline)" },
    { "replicate", 0, "K", "which replicate (0)" },
    { "data", 'd', "FILE", "where the run's data lies now" },
    { "json", 0, NULL, "all of it, with every pair of experts and the histogram of margins" },
    { "csv", 0, NULL, "the same in long form, one value a line" },
    { "output", 'o', "FILE", "write to a file, which appears when it is complete (default -: stdout)" },
    { 0 }
};

/* ---- for people ---- */

static void cell_router(struct table *t, const struct views *v, int i)
{
    char label[32];
    table_cell(t, "%s", views_label(v, i, label));
}

static void cell_real(struct table *t, double x)
{
    char text[FORMAT_SIZE];
    table_cell(t, "%s", format_figures(x, 3, text));
}

static void cell_share(struct table *t, double x)
{
    char text[FORMAT_SIZE];
    table_cell(t, isnan(x) ? "%s" : "%s %%", format_figures(100 * x, 3, text));
}

static void print_choices(const struct views *v, FILE *to)
{
    static const char *const columns[] = { ">layer", ">experts", ">of a token", ">max vio", ">of random", ">dead",
                                           ">drowned", ">largest gate", ">sum of gates", ">effective" };
    struct table *t = table_new(columns, COUNT(columns));
    for (int i = 0; i < v->last.n; i++) {
        const struct view *w = &v->view[i];
        cell_router(t, v, i);
        if (w->route->idle) table_cell(t, "%d + %d", w->route->experts - w->route->idle, w->route->idle);
        else table_cell(t, "%d", w->route->experts);
        cell_real(t, w->choices / (double)w->route->rows);
        cell_real(t, w->max_vio);
        cell_real(t, w->max_vio_floor);
        cell_share(t, w->dead);
        cell_share(t, w->drowned);
        cell_real(t, w->gates.largest);
        cell_real(t, w->gates.sum);
        cell_real(t, w->gates.effective);
    }
    cli_heading(to, "choices");
    table_print(t, to);
}

static void print_margins(const struct views *v, FILE *to)
{
    static const char *const columns[] = { ">layer", ">mean margin", ">median", ">below 2^-8 key", ">last bias change",
                                           ">below it" };
    struct table *t = table_new(columns, COUNT(columns));
    bool any = false;
    for (int i = 0; i < v->last.n; i++) {
        const struct margins *m = &v->view[i].margins;
        if (!m->known) continue;
        any = true;
        cell_router(t, v, i);
        cell_real(t, m->mean);
        cell_real(t, m->median);
        cell_share(t, m->rounded);
        cell_real(t, v->view[i].reach);
        cell_share(t, m->reached);
    }
    if (any) cli_heading(to, "margins: smallest key that was chosen less the largest that was not");
    table_print(t, any ? to : NULL);
}

static void print_together(const struct views *v, FILE *to)
{
    static const char *const columns[] = { ">layer", ">most often together", ">share", ">of random",
                                           ">adjacent, random", ">cosine of down", ">of router rows" };
    struct table *t = table_new(columns, COUNT(columns));
    for (int i = 0; i < v->last.n; i++) {
        const struct view *w = &v->view[i];
        struct strongest s;
        bool any = views_strongest(w, &s) && s.share > 0;
        cell_router(t, v, i);
        if (any) table_cell(t, "%d with %d", s.from, s.to);
        else table_cell(t, "-");
        cell_share(t, any ? s.share : NAN);
        cell_share(t, w->together_chance);
        cell_share(t, w->adjacent_chance);
        cell_real(t, w->route->down_cosine);
        cell_real(t, w->route->row_cosine);
    }
    cli_heading(to, "experts and each other");
    table_print(t, to);
}

static void print_health(const struct views *v, FILE *to)
{
    static const char *const columns[] = { ">layer", ">output rms", ">least", ">most", ">weight norm", ">least",
                                           ">most", ">scores > 0.99", ">scores < 0.01" };
    struct table *t = table_new(columns, COUNT(columns));
    for (int i = 0; i < v->last.n; i++) {
        const struct view *w = &v->view[i];
        const struct evenness *all[] = { &w->output, &w->weight };
        cell_router(t, v, i);
        for (int k = 0; k < COUNT(all); k++) {
            cell_real(t, all[k]->median);
            cell_real(t, all[k]->least);
            cell_real(t, all[k]->most);
        }
        cell_share(t, w->route->score_high);
        cell_share(t, w->route->score_low);
    }
    cli_heading(to, "health: the median expert, and the least and the most over it");
    table_print(t, to);
}

/* A column a domain: its commonest expert, and the share of its tokens that go there. */
static void print_domains(const struct views *v, FILE *to)
{
    const char **columns = xcalloc((size_t)v->n_domains + 2, sizeof *columns);
    char (*name)[64] = xcalloc((size_t)v->n_domains + 1, sizeof *name);
    columns[0] = ">layer";
    for (int i = 0; i < v->n_domains; i++) {
        snprintf(name[i], sizeof name[i], ">%s", v->domain[i].name);
        columns[i + 1] = name[i];
    }
    columns[v->n_domains + 1] = ">of random";
    struct table *t = table_new(columns, v->n_domains + 2);
    for (int r = 0; r < v->last.n; r++) {
        double *share = xcalloc((size_t)v->last.route[r].experts + 1, sizeof *share), chance = NAN;
        cell_router(t, v, r);
        for (int i = 0; i < v->n_domains; i++) {
            char text[FORMAT_SIZE];
            int best = views_shares(&v->domain[i], r, share, &chance);
            table_cell(t, "%d: %s %%", best, format_figures(100 * share[best], 3, text));
        }
        cell_share(t, chance);
        free(share);
    }
    if (v->n_domains) cli_heading(to, "domains: the expert that most of a domain's tokens go to, and their share");
    table_print(t, v->n_domains ? to : NULL);
    free(columns);
    free(name);
}

static void print_vocabulary(const struct views *v, FILE *to)
{
    static const char *const columns[] = { ">layer", ">by the token's id", ">chance", ">ids", ">by the next token's",
                                           ">chance", ">ids", ">by the router before (nat)", ">chance" };
    struct table *t = table_new(columns, COUNT(columns));
    for (int i = 0; i < v->last.n; i++) {
        const struct view *w = &v->view[i];
        cell_router(t, v, i);
        cell_share(t, w->input);
        cell_share(t, w->input_chance);
        table_cell(t, "%lld", (long long)w->input_ids);
        cell_share(t, w->next);
        cell_share(t, w->next_chance);
        table_cell(t, "%lld", (long long)w->next_ids);
        cell_real(t, w->path);
        cell_real(t, w->path_chance);
    }
    cli_heading(to, "what is known of a token's first expert");
    table_print(t, to);
}

/* kept: what changed since the checkpoint before; else what is as in the last. */
static void print_steps(const struct views *v, bool churn, FILE *to)
{
    int n = v->last.n;
    const char **columns = xcalloc((size_t)n + 2, sizeof *columns);
    char (*name)[48] = xcalloc((size_t)n + 1, sizeof *name), label[32];
    columns[0] = ">step";
    columns[1] = churn ? ">after" : ">loss";
    for (int i = 0; i < n; i++) {
        snprintf(name[i], sizeof name[i], ">layer %s", views_label(v, i, label));
        columns[i + 2] = name[i];
    }
    struct table *t = table_new(columns, n + 2);
    for (int k = churn; k < v->n_moments; k++) {
        const struct moment *m = &v->moment[k];
        char text[FORMAT_SIZE];
        table_cell(t, "%lld", (long long)m->step);
        if (churn) table_cell(t, "%lld", (long long)m[-1].step);
        else table_cell(t, "%s", format_real(m->loss, 4, text));
        for (int i = 0; i < n; i++) cell_share(t, churn ? 1 - m->kept[i] : m->shared[i]);
    }
    if (!churn && v->n_moments) {
        table_cell(t, "by chance");
        table_cell(t, "%s", "");
        for (int i = 0; i < n; i++) cell_share(t, v->moment[v->n_moments - 1].chance[i]);
    }
    char title[96];
    snprintf(title, sizeof title, churn ? "churn: choices that changed since the step before"
                                        : "saturation: choices that are those of step %lld", (long long)v->last.step);
    bool any = v->n_moments > churn;
    if (any) cli_heading(to, title);
    table_print(t, any ? to : NULL);
    free(columns);
    free(name);
}

static void print_closed(const struct views *v, FILE *to)
{
    static const char *const columns[] = { ">best experts closed", ">loss", ">more" };
    struct table *t = table_new(columns, COUNT(columns));
    for (int i = 0; i <= v->n_closed; i++) {
        char text[FORMAT_SIZE];
        double loss = i ? v->closed[i - 1] : v->last.loss;
        table_cell(t, "%d", i);
        table_cell(t, "%s", format_real(loss, 4, text));
        table_cell(t, "%s", i ? format_real(loss - v->last.loss, 4, text) : "");
    }
    if (v->n_closed) cli_heading(to, "redundancy: loss without each token's best experts");
    table_print(t, v->n_closed ? to : NULL);
}

static void print_views(const struct run *r, const struct views *v, FILE *to)
{
    char text[FORMAT_SIZE], leak[FORMAT_SIZE];
    fprintf(to, "run       %s\nstep      %lld\nasked     %lld held-out tokens\nloss      %s\nleak      %s\n", r->name,
            (long long)v->last.step, (long long)v->last.tokens, format_real(v->last.loss, 4, text),
            format_figures(v->leak, 3, leak));
    print_choices(v, to);
    print_margins(v, to);
    print_together(v, to);
    print_health(v, to);
    print_vocabulary(v, to);
    print_domains(v, to);
    print_steps(v, false, to);
    print_steps(v, true, to);
    print_closed(v, to);
}

/* ---- ---- */

static enum code write_to(const char *path, const struct call *c, const struct run *r, const struct views *v)
{
    struct err e;
    struct file *file = file_begin(path, FILE_ANY, &e);
    if (!file) return cli_fail(cli_system_code(errno, CODE_FAILURE), "%s", e.text);
    FILE *to = file_stream(file);
    if (cli_flag(c, "json")) {
        json_t *j = views_write_json(r, v);
        json_dumpf(j, to, JSON_INDENT(1) | JSON_REAL_PRECISION(15));
        fputc('\n', to);
        json_decref(j);
    } else if (cli_flag(c, "csv")) views_write_csv(v, to);
    else print_views(r, v, to);
    return file_commit(file, &e) ? cli_fail(cli_system_code(errno, CODE_FAILURE), "%s", e.text) : CODE_OK;
}

static enum code run(const struct call *c)
{
    int64_t closed = 0, replicate = 0;
    struct views_options o = { .tokens = VIEWS_TOKENS, .against = -1, .data = cli_value(c, "data", NULL),
                               .steps = true };
    struct views v;
    struct runs *runs;
    struct err e;
    if (cli_exclude(c, "csv", "json")) return CODE_USAGE;
    if (cli_integer(c, "tokens", 0, INT32_MAX, &o.tokens) || cli_integer(c, "against", 0, INT64_MAX, &o.against) ||
        cli_integer(c, "closed", 0, 4096, &closed) || cli_integer(c, "replicate", 0, INT32_MAX, &replicate))
        return CODE_USAGE;
    o.closed = (int)closed;
    if (runs_open(c->word[0], &runs, &e)) return cli_fail(CODE_INPUT, "%s", e.text);
    const char **domains;
    o.n_domains = cli_values(c, "domain", &domains);
    o.domain = domains;
    struct run *r = runs_choose(runs, cli_value(c, "variant", NULL), (int)replicate, &e);
    enum code code = CODE_OK;
    if (!r || views_read(r, &o, &v, &e)) code = cli_fail(CODE_INPUT, "%s", e.text);
    else {
        code = write_to(cli_value(c, "output", "-"), c, r, &v);
        views_free(&v);
    }
    runs_close(runs);
    free(domains);
    return code;
}

const struct command command_routing = {
    .name = "routing", .about = "ask the routers of a run: margins, saturation, what goes together", .usage = "PATH",
    .example = "sluice routing runs/quickstart/base-1a2b3c4d/0\nsluice routing runs/quickstart --variant gated --json "
               "-o gated.json", .options = options, .least = 1, .most = 1, .run = run,
    .more = "Held-out text goes through the run's checkpoints as in an evaluation, and it is noted which experts each "
            "token goes to.\nStep 0 is before training; a run keeps train.keep checkpoints. PATH is a run's folder or "
            "file, live ones too, or a\nstudy's folder. Figures are sluice plot --kind margin, coactivation and "
            "saturation.\n\n"
            "leak       by how much, in nat, losses of earlier tokens change when later ones are others: 0 of a causal "
            "model\n"
            "max vio    (largest load - mean load) / mean load, of experts that compute; beside it that of random "
            "routing\n"
            "dead       experts below 1 % of the mean load; drowned: above twice\n"
            "effective  e^entropy of a token's gates: so many experts with equal gates would have it\n"
            "margins    of routers that choose by the largest keys: below 2^-8 of a key rounding it to bf16 may change "
            "the choice, below\n           the last change of the balancing bias that change may\n"
            "share      of the tokens of the first expert those that go to the second too; adjacent: as neighbours in "
            "the order of keys\n"
            "cosine     mean over pairs of experts\n"
            "health     root mean square of what an expert writes, before its gate; norm of all its matrices\n"
            "by the id  share of an id's tokens that its most frequent first expert has, mean over ids that occur ten "
            "times;\n           chance: with experts shuffled",
};
