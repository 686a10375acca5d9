/* The files of a run: what the run file says of it, going on with it, checkpoints. */
#include "train_private.h"
#include "start.h"
#include "trunk.h"
#include "base/text.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int origin_here(struct origin *o, enum backend_kind kind, const struct mesh *mesh, struct err *e)
{
    const struct backend *b = backend_find(kind, e);
    *o = (struct origin){ "", "" };
    int ranks = mesh_ranks(mesh);
    char isa[16], axes[64];
    snprintf(o->revision, sizeof o->revision, "%s", train_revision);
    if (!b || b->probe(isa, e)) return -1;
    if (ranks == 1) snprintf(o->isa, sizeof o->isa, "%s", isa);
    else if (mesh->size[AXIS_DP] == ranks) snprintf(o->isa, sizeof o->isa, "%s x%d", isa, ranks);
    else snprintf(o->isa, sizeof o->isa, "%s %s", isa, mesh_text(mesh, axes));
    return 0;
}

/* Of a trainer whose session is open: its backend answers. */
static struct origin origin_of(struct trainer *t)
{
    struct origin o;
    origin_here(&o, (enum backend_kind)t->session->train.backend, &comm_here()->place.mesh, &t->err);
    return o;
}

bool origin_equal(const struct origin *a, const struct origin *b)
{
    return strcmp(a->revision, b->revision) == 0 && strcmp(a->isa, b->isa) == 0;
}

/* ---- checkpoints ---- */

size_t train_checkpoint_bytes(const struct trainer *t)
{
    const struct leaves *leaves = t->session->leaves;
    size_t bytes = 0;
    for (int i = 0; i < leaves->n; i++) if (leaf_is_saved(leaves->leaf[i])) bytes += leaf_whole_bytes(leaves->leaf[i]);
    return bytes;
}

/* What a checkpoint holds beside the model's state: whose it is, and what the loop remembers. */
static json_t *trainer_state_of(struct trainer *t)
{
    struct origin here = origin_of(t);
    char hash[33];
    hash_print(t->variant->hash, hash);
    return json_pack("{s:s, s:I, s:s, s:s, s:f, s:f, s:f, s:o}", "config_hash", hash, "seed",
                     (json_int_t)t->point->seed, "revision", here.revision, "isa", here.isa, "seconds",
                     train_seconds(t), "seconds_total", train_seconds_total(t), "flops", t->flops, "stop",
                     stop_save(t->stop));
}

static const char *text_in(const json_t *j, const char *key)
{
    const char *text = json_string_value(json_object_get(j, key));
    return text ? text : "";
}

static int check_owner(struct trainer *t, const char *path, const char *hash, const json_t *trainer_state)
{
    struct origin here = origin_of(t), there = { "", "" };
    json_int_t seed = json_integer_value(json_object_get(trainer_state, "seed"));
    if (strcmp(text_in(trainer_state, "config_hash"), hash) != 0 || (uint64_t)seed != t->point->seed)
        return err_set(&t->err,
                       "%s: belongs to another run (configuration %s, seed %lld; wanted %s, %llu): move it away", path,
                       text_in(trainer_state, "config_hash"), (long long)seed, hash,
                       (unsigned long long)t->point->seed);
    snprintf(there.revision, sizeof there.revision, "%s", text_in(trainer_state, "revision"));
    snprintf(there.isa, sizeof there.isa, "%s", text_in(trainer_state, "isa"));
    if (t->options->mix || origin_equal(&here, &there)) return 0;
    return err_set(&t->err,
                   "%s: was computed by revision %s with %s, this is revision %s with %s; --mix goes on all the same",
                   path, there.revision, there.isa, here.revision, here.isa);
}

/* hash: of the configuration that made it. */
static int take(struct trainer *t, const char *path, const char *hash, struct checkpoint *from)
{
    json_t *trainer_state = NULL;
    if (checkpoint_load(path, t->session->leaves, t->session->state, from, &trainer_state, &t->err)) return -1;
    int failure = check_owner(t, path, hash, trainer_state);
    t->done = from->step;
    t->spent = json_number_value(json_object_get(trainer_state, "seconds"));
    t->spent_total = json_number_value(json_object_get(trainer_state, "seconds_total"));
    t->flops = t->flops_before = json_number_value(json_object_get(trainer_state, "flops"));
    stop_load(t->stop, json_object_get(trainer_state, "stop"));
    json_decref(trainer_state);
    return failure;
}

/* Goes back to the newest good checkpoint that the committed rows reach to; step 0 when there is none. */
static int restore(struct trainer *t, int64_t most, struct checkpoint *from)
{
    char path[4096], hash[33], *dir = checkpoint_folder(t->dir);
    hash_print(t->variant->hash, hash);
    int found = checkpoint_tidy(dir) ? err_set(&t->err, "%s: %s", dir, strerror(errno))
                                     : checkpoint_newest(dir, most, path, sizeof path, &t->err);
    free(dir);
    return found <= 0 ? found : take(t, path, hash, from);
}

static int list_checkpoint(struct trainer *t, const struct checkpoint *c)
{
    return store_checkpoint(t->store, c->step, strrchr(c->path, '/') + 1, c->bytes, c->hash, &t->err);
}

void train_tidy(const struct trainer *t)
{
    trunk_prune(t->study, t->number, (int)config_integer(t->variant->config, "train.keep"));
}

/* The last step up to this one whose checkpoint is one whatever stopped the run meanwhile. */
static int64_t regular(const struct trainer *t, int64_t step)
{
    return step - step % t->session->train.checkpoint_every;
}

int train_go_back(struct trainer *t)
{
    struct checkpoint c;
    json_t *trainer_state;
    char text[256];
    int64_t step = regular(t, t->done - 1);
    char *path = checkpoint_path(t->dir, step);
    int missing = checkpoint_load(path, t->session->leaves, t->session->state, &c, &trainer_state, &t->err);
    free(path);
    if (missing) return -1;
    json_decref(trainer_state);
    snprintf(text, sizeof text, "train.guard: far above the steps before, or no number; what steps %lld to %lld did is "
             "taken back, and goes on from step %lld", (long long)step + 1, (long long)t->done, (long long)step);
    int failure = store_event(t->store, t->done, LEVEL_WARNING, EVENT_ROLLED_BACK, text, &t->err);
    if (failure) t->cause = errno;
    return failure;
}

int train_save(struct trainer *t)
{
    double start = clock_seconds();
    char *dir = checkpoint_folder(t->dir);
    struct checkpoint c;
    json_t *trainer_state = trainer_state_of(t);
    int keep = t->session->train.keep;
    struct held held = trunk_held(t->study, t->number);
    if (t->goes_back) held.step[held.n++] = regular(t, t->done);
    int failure = store_flush(t->store, &t->err) ||
                  checkpoint_save(dir, t->done, t->session->leaves, t->session->state, trainer_state, keep ? keep : 1,
                                  &held, &c, &t->err) ||
                  list_checkpoint(t, &c);
    if (failure) t->cause = errno;
    free(held.step);
    json_decref(trainer_state);
    free(dir);
    t->paused += clock_seconds() - start;
    return failure ? -1 : 0;
}

/* ---- the run file ---- */

static const char *json_text(struct arena *a, const json_t *json)
{
    char *text = json ? study_config_text(json) : NULL;
    const char *kept = text ? arena_text(a, "%s", text) : NULL;
    free(text);
    return kept;
}

static struct store_plan *describe(struct trainer *t, struct arena *a)
{
    struct session *s = t->session;
    const struct corpus_info *data = corpus_info(t->corpus);
    const struct plan_report *report = plan_report(s->plan);
    struct store_plan *plan = arena_alloc(a, sizeof *plan);
    int n_train = metrics_count(t->train), n_eval = metrics_count(t->eval);
    struct series *series = arena_alloc(a, (size_t)(n_train + n_eval) * sizeof *series);
    memcpy(series, metrics_series(t->train), (size_t)n_train * sizeof *series);
    memcpy(series + n_train, metrics_series(t->eval), (size_t)n_eval * sizeof *series);
    char *config_hash = arena_alloc(a, 33), *data_hash = arena_alloc(a, 33), *eval_hash = arena_alloc(a, 33),
         *fingerprint = arena_alloc(a, 33), host[256] = "";
    hash_print(t->variant->hash, config_hash);
    hash_print(data->hash, data_hash);
    hash_print(t->eval_set.hash, eval_hash);
    hash_print(t->variant->fingerprint, fingerprint);
    gethostname(host, sizeof host - 1);
#define TEXT(key, value) { key, ATTRIBUTE_TEXT, value, 0, 0 }
#define WHOLE(key, value) { key, ATTRIBUTE_INT, NULL, (int64_t)(value), 0 }
#define NUMBER(key, value) { key, ATTRIBUTE_REAL, NULL, 0, value }
    const struct attribute root[] = {
        TEXT("study", t->study->name), TEXT("variant", t->variant->name),
        WHOLE("replicate", t->point->replicate), WHOLE("seed", t->point->seed),
        TEXT("config_hash", config_hash), TEXT("fingerprint", fingerprint), TEXT("rng", "philox4x32-10"),
        TEXT("looks_ahead", ahead_name[t->variant->looks_ahead]) };
    const struct attribute environment[] = {
        TEXT("revision", train_revision), TEXT("isa", arena_text(a, "%s", origin_of(t).isa)),
        TEXT("host", arena_text(a, "%s", host)), WHOLE("threads", t->options->threads),
        TEXT("backend", s->backend->name), TEXT("precision", s->train.precision == PRECISION_BF16 ? "bf16" : "fp32"),
        TEXT("compiler", base_compiler), WHOLE("deterministic", 1) };
    const struct attribute corpus[] = {
        TEXT("path", data->path), TEXT("format", data->format), TEXT("tokenizer", data->tokenizer),
        TEXT("hash", data_hash), WHOLE("tokens", data->tokens), WHOLE("documents", data->documents),
        WHOLE("held_out_tokens", data->held_out_tokens),
        WHOLE("vocab", data->vocab), NUMBER("bytes_per_token", data->bytes_per_token),
        TEXT("eval_hash", eval_hash), WHOLE("eval_tokens", t->eval_set.targets) };
    const struct attribute cost[] = {
        TEXT("flop_convention",
             "1 MAC = 2 FLOPs; attention counts the causal half; lookups 0; backward twice the forward"),
        WHOLE("predicted_peak_bytes", session_bytes(s)),
        NUMBER("train_flops_per_token", t->variant->train_flops_per_token),
        WHOLE("params_total", t->variant->counts.total), WHOLE("params_active", t->variant->counts.active),
        WHOLE("params_non_embedding", t->variant->counts.non_embedding) };
    struct attributes groups[] = {
        { "/", COUNT(root), arena_copy(a, root, sizeof root) },
        { "/environment", COUNT(environment), arena_copy(a, environment, sizeof environment) },
        { "/data", COUNT(corpus), arena_copy(a, corpus, sizeof corpus) },
        { "/cost", COUNT(cost), arena_copy(a, cost, sizeof cost) }, { 0 } };
    int n_groups = COUNT(groups) - 1;
    if (t->choices) groups[n_groups++] = choices_attributes(t->choices, a);
    const struct cost_line whole = { "model", (uint64_t)t->variant->counts.total, (uint64_t)t->variant->counts.active,
                                     t->variant->train_flops_per_token / 3, t->variant->train_flops_per_token,
                                     report->arena, report->buffers + report->offloaded,
                                     t->variant->kv_bytes_per_token };
    *plan = (struct store_plan){ n_train + n_eval, series, n_groups, arena_copy(a, groups, sizeof groups), 1,
                                 arena_copy(a, &whole, sizeof whole),
                                 json_text(a, t->variant->config), t->study->script_text, t->study->script_path,
                                 json_text(a, t->study->required), json_text(a, t->study->record) };
    return plan;
}

/* ---- beginning, and going on ---- */

/* That it does not go on with an earlier run is told once for all replicates. */
static int create(struct trainer *t, const char *path, const struct store_plan *plan, const struct trunk *trunk)
{
    char text[512] = "started";
    if (*t->started) snprintf(text, sizeof text, "started with the weights of %.470s", t->started);
    bool anew = !*trunk->dir && *trunk->earlier;
    if (anew)
        snprintf(text, sizeof text, "begins anew: it is like %s, an earlier run, up to step %lld, and no checkpoint "
                                    "that is left lies there", trunk->earlier, (long long)trunk->alike);
    if (anew && t->point->replicate == 0) fprintf(stderr, "%s/0 %s\n", t->variant->name, text);
    if (store_create(&t->store, path, plan, &t->err)) return -1;
    return store_event(t->store, 0, LEVEL_INFO, EVENT_STARTED, text, &t->err);
}

/* own: up to which step the rows are to stay where they were computed otherwise; a trunk's come instead of all. */
static int go_on(struct trainer *t, const char *path, const struct store_plan *plan, const struct checkpoint *from,
                 int64_t own)
{
    char text[256];
    struct origin here = origin_of(t);
    if (t->options->mix && store_rewind(path, own, &t->err)) return -1;
    if (store_resume(&t->store, path, plan, &t->err)) return train_say_fsck(&t->err, path);
    snprintf(text, sizeof text, "resumed from step %lld by revision %s with %s", (long long)t->done, here.revision,
             here.isa);
    if (store_event(t->store, t->done, LEVEL_INFO, EVENT_RESUMED, text, &t->err)) return -1;
    return *from->path ? list_checkpoint(t, from) : 0;    /* a kill may have come between the checkpoint and its row */
}

/* What another run has begun for this one, where that is farther than this one came. */
static void find_trunk(struct trainer *t, bool exists, struct trunk *trunk)
{
    const struct trunk_wanted wanted = { t->study, t->point, t->variant->config, corpus_info(t->corpus), origin_of(t),
                                         t->options->mix, !exists };
    trunk_find(trunk, &wanted, t->done);
}

static int begin_with(struct trainer *t, const struct trunk *trunk)
{
    char text[384];
    snprintf(text, sizeof text, "the first %lld steps are those of %s", (long long)trunk->step, trunk->dir);
    if (trunk_rows(trunk, t->study, t->store, t->train, t->eval, &t->err))
        return err_prefix(&t->err, "%s: ", trunk->dir);
    if (store_event(t->store, t->done, LEVEL_INFO, EVENT_BRANCHED, text, &t->err) || train_save(t)) return -1;
    trunk_release(t->study, t->number);
    return 0;
}

/* The state of the last step of this run, or of a trunk where that is farther. A trunk that goes on may prune what was
   found before it is read: then it is looked for anew. own: steps of this run. */
static int open_state(struct trainer *t, const struct past *past, struct checkpoint *from, struct trunk *trunk,
                      int64_t *own)
{
    struct checkpoint its;
    int failure = past->exists ? restore(t, past->last, from) : 0;
    *own = t->done;
    if (failure) return -1;
    find_trunk(t, past->exists, trunk);
    if (!*trunk->dir && t->done == 0 && model_start(&t->session->model))
        return start_load(t->study, t->number, t->session, t->started, &t->err);
    if (!*trunk->dir || take(t, trunk->checkpoint, trunk->config_hash, &its) == 0) return 0;
    if (access(trunk->checkpoint, F_OK) == 0) return -1;
    state_fill(t->session->state, t->point->seed);
    t->done = 0;
    return open_state(t, past, from, trunk, own);
}

int train_open(struct trainer *t, const struct past *past)
{
    char *path = study_point_path(t->study, t->number, "run.h5");
    struct arena *a = arena_new();
    struct store_plan *plan = describe(t, a);
    struct checkpoint from = { .step = 0 };
    struct trunk trunk;
    int64_t own;
    int failure = open_state(t, past, &from, &trunk, &own);
    t->began = clock_seconds();
    if (!failure)
        failure = past->exists ? go_on(t, path, plan, &from, *trunk.dir ? 0 : own) : create(t, path, plan, &trunk);
    if (!failure && *trunk.dir) failure = begin_with(t, &trunk);
    t->taken = t->done - own;
    if (failure) t->cause = errno;
    arena_free(a);
    free(path);
    return failure ? -1 : 0;
}

int train_close(struct trainer *t, enum store_status status, enum store_level level, enum store_event event,
                const char *text)
{
    struct mallinfo2 heap = mallinfo2();
    double bytes = (double)session_bytes(t->session) + (double)(heap.uordblks + heap.hblkhd);
    int failure = store_executed(t->store, t->flops, bytes, &t->err) ||
                  store_event(t->store, t->done, level, event, text, &t->err);
    if (!failure) {
        struct store *store = t->store;
        t->store = NULL;
        failure = store_close(store, status, &t->err);
    }
    if (failure) t->cause = errno;
    return failure ? -1 : 0;
}
