/* sluice plot: figures. */
#include "plot.h"
#include "status.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct option options[] = {
    { "output", 'o', "FILE", "figure.svg, .png or .pdf; figure.gp for the gnuplot script; - for stdout" },
    { "format", 'f', "FORMAT", "svg, png, pdf or gp (default: as the file's name ends)" },
    { "kind", 'k', "KIND", "loss (default), position, final, pairs, health, load, collapse, margin, "
                           "coactivation or saturation" },
    { "metric", 'm', "NAME", "metric to draw (default: the study's primary metric); of kinds load and collapse "
                             "train.expert_tokens or train.attention_expert_tokens" },
    { "smooth", 0, "S", "exponential mean over training curves, 0 to below 1 (default: 1 - 50/rows; 0: none)" },
    { "variant", 0, "NAME", "of kinds of one run, from health on: which variant of a study (default: the baseline)" },
    { "replicate", 0, "K", "likewise: which replicate (default 0)" },
    { "data", 'd', "FILE", "of kinds that ask checkpoints, from margin on: where the run's data lies now" },
    { 0 }
};

static enum code run(const struct call *c)
{
    struct plot_options o = { .metric = cli_value(c, "metric", NULL), .smooth = NAN,
                              .variant = cli_value(c, "variant", NULL), .data = cli_value(c, "data", NULL) };
    int64_t replicate = 0;
    int kind = 0, format = -1;
    struct runs *runs;
    struct err e;
    if (!(o.out = cli_output(c)) || cli_word(c, "kind", plot_kinds, &kind) ||
        cli_word(c, "format", plot_formats, &format) || cli_real(c, "smooth", 0, 0.9999, &o.smooth) ||
        cli_integer(c, "replicate", 0, INT32_MAX, &replicate))
        return CODE_USAGE;
    o.kind = plot_kinds[kind];
    o.format = format < 0 ? NULL : plot_formats[format];
    o.replicate = (int)replicate;
    if (runs_open(c->word[0], &runs, &e)) return cli_fail(CODE_INPUT, "%s", e.text);
    enum code code = plot_study(runs, &o, &e) ? cli_fail(cli_system_code(errno, CODE_FAILURE), "%s", e.text) : CODE_OK;
    if (status_unreadable(runs) != CODE_OK) code = CODE_INPUT;
    runs_close(runs);
    return code;
}

const struct command command_plot = {
    .name = "plot",
    .about = "figures: loss curves, final values, paired differences, a run's health, expert load, what routers do",
    .usage = "PATH -o FILE",
    .example = "sluice plot runs/quickstart -o loss.svg\nsluice plot runs/quickstart -o load.png --kind load --variant "
               "gated", .options = options, .least = 1, .most = 1, .run = run,
    .more = "loss      mean over replicates in a band from the lowest to the highest, and the paired difference to the "
            "baseline\nposition  the same of the last evaluation's losses, over how far into its document a token is\n"
            "final     the last value of every run, means with 95 % intervals\n"
            "pairs     paired differences to the baseline with 95 % intervals\n"
            "health    one run on a page: loss and spikes, norms, updates, logits, loads, what monitors add\n"
            "load      how one run's experts share the tokens, by layer and step\n"
            "collapse  the shares as bands, and how uneven they are (MaxVio), over the steps\n"
            "margin    by how much one run's experts are chosen, as sluice routing asks\n"
            "coactivation  which experts go together, against chance\n"
            "saturation    how many choices of each checkpoint are those of the last\n"
            "gnuplot draws them; it must be installed.",
};
