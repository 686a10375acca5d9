/* sluice eval: puts questions to a trained model. */
#include "eval.h"
#include "base/file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct option options[] = {
    { "tasks", 'q', "FILE", "questions: JSON lines, or a file of llm.c; may be repeated" },
    { "task", 't', "NAME", "what they are, where their fields do not say it: arc or openbookqa, mmlu or mmlu_cloze" },
    { "shots", 'k', "N", "solved examples before each question (0)" },
    { "shots-from", 0, "FILE", "what they are taken from (the questions themselves, without the one that is asked)" },
    { "limit", 'l', "N", "no more questions of each file than the first N; 0: all (0)" },
    { "against", 'a', "PATH", "the same questions to another model, and what differs" },
    { "groups", 'g', "MEASURE", "also by group: this measure (acc, acc_norm, ..)" },
    { "text", 0, "NAME=FILE", "bits per byte of the held-out documents of a token file; may be repeated" },
    { "tokens", 'n', "N", "of a text the first N held-out tokens; 0: all (0)" },
    { "stride", 0, "N", "bytes that a window predicts of a long document, behind what it sees again (half a window)" },
    { "jsonl", 'o', "FILE", "also a line a question, with the log-likelihood of each choice" },
    { "json", 0, NULL, "as JSON" },
    { 0 }
};

/* The models that are asked, one or two, and how. */
struct asking {
    struct scorer *here, *there;
    struct questions pool;
    int longest; struct exam_how how; struct passages_how passages;
};

static int open_one(struct scorer **out, const char *path, struct err *e)
{
    if (score_open(out, path, e)) return -1;
    const struct checkpoint *from = score_from(*out);
    fprintf(stderr, "%s", from->path);
    if (from->step) fprintf(stderr, ", step %lld", (long long)from->step);
    fprintf(stderr, "%s\n", score_averages(*out) ? ", averages of its weights" : "");
    return 0;
}

/* Both see as much: what the shorter one can. */
static int open_models(struct asking *a, const struct evaluated *v, struct err *e)
{
    if (open_one(&a->here, v->path, e) || (v->against && open_one(&a->there, v->against, e))) return -1;
    int here = score_longest(a->here), there = a->there ? score_longest(a->there) : here;
    a->longest = a->how.longest = a->passages.longest = here < there ? here : there;
    if (a->passages.stride < a->longest) return 0;
    return err_set(e, "--stride %d: a window has %d tokens", a->passages.stride, a->longest - 1);
}

static int sit(struct asking *a, struct sitting *s, struct err *e)
{
    if (exam_take(&s->here, &s->questions, &a->how, a->here, e)) return -1;
    return a->there ? exam_take(&s->there, &s->questions, &a->how, a->there, e) : 0;
}

static int read_domain(struct asking *a, struct domain *d, const char *named, struct err *e)
{
    const char *path = strchr(named, '=');
    struct corpus *c;
    if (!path || path == named || !path[1] || path - named >= (int)sizeof d->name)
        return err_set(e, "--text '%s': must be NAME=FILE, a packed token file", named);
    snprintf(d->name, sizeof d->name, "%.*s", (int)(path - named), named);
    if (corpus_open(&c, path + 1, e)) return -1;
    int failure = passages_read(&d->here, c, &a->passages, a->here, e);
    if (!failure && a->there) failure = passages_read(&d->there, c, &a->passages, a->there, e);
    corpus_close(c);
    return failure;
}

static int read_questions(const struct call *c, struct asking *a, struct evaluated *v, struct err *e)
{
    const char **file, *pool = cli_value(c, "shots-from", NULL), *form = cli_value(c, "task", NULL);
    int n = cli_values(c, "tasks", &file), failure = 0;
    v->sitting = xcalloc((size_t)n + 1, sizeof *v->sitting);
    for (int i = 0; !failure && i < n; i++) {
        failure = questions_read(&v->sitting[i].questions, file[i], form, e);
        v->sittings += !failure;
    }
    if (!failure && pool) {
        failure = questions_read(&a->pool, pool, form, e);
        a->how.pool = &a->pool;
    }
    free(file);
    return failure;
}

static int ask(const struct call *c, struct asking *a, struct evaluated *v, struct err *e)
{
    const char **text;
    int n = cli_values(c, "text", &text), failure = read_questions(c, a, v, e) || open_models(a, v, e);
    v->domain = xcalloc((size_t)n + 1, sizeof *v->domain);
    for (int i = 0; !failure && i < v->sittings; i++) failure = sit(a, &v->sitting[i], e);
    for (int i = 0; !failure && i < n; i++) failure = read_domain(a, &v->domain[v->domains++], text[i], e);
    free(text);
    return failure;
}

static enum code write_lines(const struct evaluated *v, const char *path)
{
    struct err e;
    struct file *file = file_begin(path, FILE_ANY, &e);
    if (!file) return cli_fail(cli_system_code(errno, CODE_FAILURE), "%s", e.text);
    eval_lines(v, file_stream(file));
    return file_commit(file, &e) ? cli_fail(cli_system_code(errno, CODE_FAILURE), "%s", e.text) : CODE_OK;
}

static void free_all(struct asking *a, struct evaluated *v)
{
    for (int i = 0; i < v->sittings; i++) {
        exam_free(&v->sitting[i].here);
        exam_free(&v->sitting[i].there);
        questions_free(&v->sitting[i].questions);
    }
    for (int i = 0; i < v->domains; i++) {
        passages_free(&v->domain[i].here);
        passages_free(&v->domain[i].there);
    }
    questions_free(&a->pool);
    free(v->sitting);
    free(v->domain);
    score_close(a->here);
    score_close(a->there);
}

static const struct measure *measure_named(const char *name)
{
    for (int i = 0; i < judge_measure_count(); i++)
        if (!strcmp(judge_measures[i].name, name)) return &judge_measures[i];
    return NULL;
}

static enum code run(const struct call *c)
{
    int64_t shots = 0, limit = 0, tokens = 0, stride = 0;
    const char *lines = cli_value(c, "jsonl", NULL), *groups = cli_value(c, "groups", NULL);
    struct evaluated v = { .path = c->word[0], .against = cli_value(c, "against", NULL) };
    struct err e;
    if (cli_integer(c, "shots", 0, 1000, &shots) || cli_integer(c, "limit", 0, INT32_MAX, &limit) ||
        cli_integer(c, "tokens", 0, INT64_MAX, &tokens) || cli_integer(c, "stride", 1, INT32_MAX, &stride))
        return CODE_USAGE;
    if (!cli_value(c, "tasks", NULL) && !cli_value(c, "text", NULL))
        return cli_usage(c, "nothing is asked: --tasks FILE or --text NAME=FILE");
    if (groups && !(v.groups = measure_named(groups))) return cli_usage(c, "--groups: no measure '%s'", groups);
    struct asking a = { .how = { .shots = (int)shots, .limit = (int)limit }, .passages = { tokens, (int)stride, 0 } };
    enum code code = CODE_OK;
    if (ask(c, &a, &v, &e)) code = cli_fail(CODE_INPUT, "%s", e.text);
    else {
        if (lines) code = write_lines(&v, lines);
        if (cli_flag(c, "json")) eval_json(&v);
        else eval_print(&v);
    }
    free_all(&a, &v);
    return code;
}

const struct command command_eval = {
    .name = "eval", .about = "put questions to a trained model, by the likelihood of each choice", .usage = "PATH",
    .example = "sluice eval runs/quickstart/base-1a2b3c4d/0 --tasks piqa.jsonl --tasks blimp.jsonl --groups acc\n"
               "sluice eval runs/quickstart/gated-1a2b3c4d/0 --against runs/quickstart/base-1a2b3c4d/0 --tasks "
               "piqa.jsonl --shots 5 --jsonl answers.jsonl\n"
               "sluice eval runs/quickstart/base-1a2b3c4d/0 --text prose=prose.tok --text code=code.tok",
    .options = options, .least = 1, .most = 1, .run = run,
    .more = "PATH is a run's folder, which stands for its newest good checkpoint, a checkpoint, or a model file of "
            "sluice ckpt. Words are for models of bytes; a file of llm.c is in tokens, of which the model must have "
            "as many. Fields of each task and its prompt: docs/evaluation.md.\n\n"
            "acc        the likeliest choice is the right one; acc_norm, acc_bytes, acc_token: by character, byte, "
            "token of it;\n           acc_pmi: less the likelihood of the choice without its context\n"
            "bpb_gold   bits per byte of the right choice; p_gold, log_p_gold, margin: how it stands among the "
            "others, by byte;\n           they move long before accuracy does\n"
            "chance     1 / choices; longest, shortest, alone: always that choice, or the likeliest without a context:"
            "\n           what no skill has\n"
            "±          one standard error over questions, of text over documents\n"
            "larger     with --against: questions with a larger value here, smaller: there. p: of accuracies "
            "McNemar's, exact below\n           25 such questions, else mid-p; else Student's t. It speaks of these "
            "two models; of how models are made several\n           seeds speak, and sluice compare",
};
