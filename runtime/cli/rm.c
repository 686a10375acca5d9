/* sluice rm: a study, a variant of it, or a run. */
#include "remove.h"

static const struct option options[] = { REMOVE_OPTIONS, { 0 } };

static int remove_all(const struct call *c, struct removal *r, struct err *e)
{
    for (int i = 0; i < c->n_words; i++) {
        int layer = remove_layer(c->word[i], e);
        if (layer < 0 || remove_folder(c->word[i], (enum layer)layer, r, e)) return -1;
    }
    return 0;
}

static enum code run(const struct call *c)
{
    struct removal r = { .dry = true };
    struct err e;
    if (cli_exclude(c, "yes", "dry-run")) return CODE_USAGE;
    if (remove_all(c, &r, &e)) return cli_fail(CODE_INPUT, "%s", e.text);  /* all is looked at before anything goes */
    if (!cli_flag(c, "yes")) return remove_end(c, &r);
    r = (struct removal){ .told = true };
    if (remove_all(c, &r, &e)) return cli_fail(CODE_FAILURE, "%s", e.text);
    return remove_end(c, &r);
}

const struct command command_rm = {
    "rm", "remove a study, a variant or a run", "PATH...",
    "sluice rm runs/trial --dry-run\nsluice rm runs/quickstart/gated-3f9a12cd/4 --yes", options, 1, -1,
    "Removes what sluice wrote and nothing else: links are not followed, other files stay. Runs that are being\n"
    "trained are refused. What a study still names is trained again by the next sluice run.", run,
};
