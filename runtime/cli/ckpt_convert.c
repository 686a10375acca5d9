/* sluice ckpt convert and map: a model as one file. */
#include "ckpt.h"
#include "mapping_print.h"
#include "script.h"
#include "cpu/pool.h"
#include "train/model_file.h"
#include "train/start.h"
#include "train/trained.h"
#include "base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int form_of(const struct call *c, struct model_form *form)
{
    static const char *const names[] = { "f32", "bf16", "f16", NULL }, *const types[] = { "F32", "BF16", "F16" };
    int which = 0;
    if (cli_word(c, "dtype", names, &which)) return -1;
    *form = (struct model_form){ .merged = cli_flag(c, "merge"), .dtype = types[which] };
    return 0;
}

static enum code write_file(const struct call *c, const json_t *config, const struct session *s,
                            const struct model_form *form)
{
    const struct model_source from = { config, s->leaves, s->state, s->model.adapter };
    const char *path = cli_value(c, "output", NULL);
    struct err e;
    if (model_file_write(path, &from, form, &e)) return cli_fail(cli_system_code(errno, CODE_INPUT), "%s", e.text);
    if (strcmp(path, "-") != 0) printf("written   %s\n", path);
    return CODE_OK;
}

enum code ckpt_convert(const struct call *c)
{
    struct model_form form;
    struct session *s = NULL;
    struct checkpoint was;
    struct err e;
    enum code code;
    if (c->n_words != 2) return cli_usage(c, "convert one PATH");
    if (!cli_output(c) || form_of(c, &form)) return CODE_USAGE;
    json_t *config = trained_config(c->word[1], &e);
    if (!config || session_new(&s, config, pool_cores(), &e) || trained_load(c->word[1], s, &was, &e))
        code = cli_fail(CODE_INPUT, "%s", e.text);
    else if (form.merged && !s->model.adapter.module->adapter)
        code = cli_fail(CODE_INPUT, "%s: adapter = \"none\": there is nothing to merge", c->word[1]);
    else {
        fprintf(stderr, "%s\n", was.path);
        if (!cli_flag(c, "raw") && state_copy(s->leaves, s->state, s->leaves, s->state, &e))
            code = cli_fail(CODE_INPUT, "%s", e.text);
        else code = write_file(c, config, s, &form);
    }
    session_free(s);
    json_decref(config);
    return code;
}

/* ---- what a variant begins with ---- */

static enum code map_point(const struct call *c, const struct study *s, int point, const struct model_form *form)
{
    int variant = s->point[point].variant;
    const json_t *config = s->variant[variant].config;
    struct session *session = NULL;
    char from[512];
    struct err e;
    enum code code = mapping_print(s, variant, false);
    if (code) return code;
    if (session_new(&session, config, pool_cores(), &e)) return cli_fail(CODE_INPUT, "%s", e.text);
    state_fill(session->state, s->point[point].seed);
    if (start_load(s, point, session, from, &e))
        code = cli_fail(CODE_INPUT, "%s\n  sluice run trains a study's own variants", e.text);
    else {
        fprintf(stderr, "%s\n", from);
        code = write_file(c, config, session, form);
    }
    session_free(session);
    return code;
}

/* "VARIANT" or "VARIANT/REPLICATE" */
static int point_of(const struct call *c, const struct study *s, const char *word)
{
    int variant = study_variant(s, word),
        point = variant < 0 ? study_point_named(s, word) : study_point(s, variant, 0);
    char hint[HINT], *name = text_new("%.*s", (int)strcspn(word, "/"), word);
    if (point < 0 && study_variant(s, name) >= 0)
        cli_usage(c, "%s: the replicates of a variant are 0 to %d", word, s->replicates - 1);
    else if (point < 0) cli_usage(c, "no variant '%s'%s", name, did_you_mean(study_nearest(s, name), hint));
    free(name);
    return point;
}

enum code ckpt_map(const struct call *c)
{
    struct call script = *c;
    struct model_form form;
    enum code code;
    if (c->n_words != 3) return cli_usage(c, "map SCRIPT VARIANT");
    if (!cli_output(c) || form_of(c, &form)) return CODE_USAGE;
    script.word++;
    script.n_words--;
    struct study *s = script_study(&script, false, &code);
    if (!s) return code;
    int point = point_of(c, s, c->word[2]);
    code = point < 0 ? CODE_USAGE : map_point(c, s, point, &form);
    study_free(s);
    return code;
}
