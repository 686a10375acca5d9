/* Data that a task generates, named by a text as files are by a path: "task:mqar:pairs=8:length=64". Samples to train
   on are made when they are read, and kept nowhere; those that are held out are documents, as a file's. */
#include "corpus.h"
#include "task.h"
#include "model/model.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { TASKS_VERSION = 1 };                 /* part of the identity: changes with any change of a sample */
enum { ENDLESS = 1 << 30 };                 /* samples of a task that has any number of them */
static const char prefix[] = "task:";

struct generated { struct pick task; const void *table; };

bool corpus_is_task(const char *path) { return !strncmp(path, prefix, strlen(prefix)); }

static const struct task *keys_of(const struct generated *g) { return g->task.conf; }

/* The table that the text stands for; NULL: there is a word without "=". Words that are no JSON are texts. */
static json_t *read_words(char *text, struct err *e)
{
    char *rest, *name = strtok_r(text, ":", &rest);
    json_t *table = json_pack("{s:s}", "module", name ? name : "");
    for (char *word; (word = strtok_r(NULL, ":", &rest)) && table;) {
        char *value = strchr(word, '=');
        if (!value) {
            err_set(e, "'%s': must be KEY=VALUE", word);
            json_decref(table);
            return NULL;
        }
        *value++ = 0;
        json_t *json = json_loads(value, JSON_DECODE_ANY, NULL);
        json_object_set_new(table, word, json ? json : json_string(value));
    }
    return table ? table : (err_set(e, "is no text in UTF-8"), NULL);
}

static int load(struct corpus *c, struct generated *g, char *text, struct err *e)
{
    json_t *table = read_words(text, e), *all = table ? json_pack("{s:o}", "data", table) : NULL;
    struct problems problems = { 0 };
    struct data_conf conf;
    if (!all) return -1;
    data_load(all, c->arena, &conf, &problems);
    json_decref(all);
    int failure = problems.n ? err_set(e, "%s: %s", problems.problem[0].path, problems.problem[0].text) : 0;
    problems_free(&problems);
    if (failure) return -1;
    g->task = conf.data;
    json_t *whole = config_write(&data_schema, &conf);
    char *canonical = config_canonical(whole);
    int version = TASKS_VERSION;
    c->info.hash = hash_more(hash_bytes(&version, sizeof version), canonical, strlen(canonical));
    free(canonical);
    json_decref(whole);
    return 0;
}

bool generated_blind(const struct corpus *c) { return c->generated && keys_of(c->generated)->form == FORM_BLIND; }

void generated_sample(const struct corpus *c, enum purpose purpose, uint64_t number, struct item *to)
{
    const struct generated *g = c->generated;
    const struct task *keys = keys_of(g);
    struct sampled of = { (uint64_t)keys->seed, purpose, number, g->table };
    item_clear(to);
    item_begin(to);
    g->task.module->sample(g->task, &of, to);
    struct item_row *r = to->row;
    for (int i = 1; i < r->n && purpose == PURPOSE_DATA && keys->loss == LOSS_ALL; i++)
        r->counts[i] = r->id[i] != TOKEN_PAD;
}

/* What is held out: documents of which answers count. */
static void hold_out(struct corpus *c, int samples, int most)
{
    size_t tokens = (size_t)samples * (size_t)most;
    int32_t *id = arena_alloc(c->arena, tokens * sizeof *id);
    uint64_t *bound = arena_alloc(c->arena, ((size_t)samples + 1) * sizeof *bound),
             *answer = arena_alloc(c->arena, (tokens / 64 + 1) * sizeof *answer), n = 0;
    struct item item = { 0 };
    for (int s = 0; s < samples; s++) {
        generated_sample(c, PURPOSE_EVAL, (uint64_t)s, &item);
        const struct item_row *r = item.row;
        for (int i = 0; i < r->n; i++, n++) {
            id[n] = r->id[i];
            answer[n / 64] |= (uint64_t)r->counts[i] << n % 64;
            c->info.answers += r->counts[i];
        }
        bound[s + 1] = n;
    }
    item_free(&item);
    c->bound = bound;
    c->answer = answer;
    c->info.tokens = c->info.held_out_tokens = n;
    c->info.documents = (uint64_t)samples;
    corpus_keep_tokens(c, id);
}

int generated_open(struct corpus *c, char *path, struct err *e)
{
    struct generated *g = arena_alloc(c->arena, sizeof *g);
    if (load(c, g, path + strlen(prefix), e)) return -1;
    struct traits t = module_traits(g->task);
    const struct task *keys = keys_of(g);
    const struct module *m = g->task.module;
    int samples = t.samples ? t.samples : ENDLESS, held_out = keys->held_out;
    if (keys->samples && keys->samples < samples) samples = keys->samples;
    if (t.held_out && t.held_out < held_out) held_out = t.held_out;
    g->table = m->table ? m->table(g->task, c->arena, (uint64_t)keys->seed) : NULL;
    c->generated = g;
    c->info.format = "task";
    c->info.tokenizer = "symbols";
    c->info.vocab = TOKEN_FIRST + t.symbols;
    c->info.samples = (uint64_t)samples;
    c->info.sample_tokens = t.length + 1;
    hold_out(c, held_out, t.length + 1);
    return 0;
}
