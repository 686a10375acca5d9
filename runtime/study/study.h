/* A study: variants x paired replicates with a named baseline. Resolved once from what the script describes, kept
   as study.json in the study's folder; every later command reads that.

   runs/NAME/study.json
   runs/NAME/VARIANT-HASH8/REPLICATE/run.h5, run.lock, checkpoints/                                            */
#ifndef SLUICE_STUDY_H
#define SLUICE_STUDY_H

#include "backend/backend.h"
#include "data/data.h"
#include "model/mapping.h"
#include "model/model.h"
#include "model/training_graph.h"

enum { STUDY_VERSION = 1, STUDY_NAME_MAX = 120 };

/* Names of studies and variants become folders, as they are: whether one can. */
bool study_is_name(const char *name);
extern const char study_name_rule[];

struct variant {
    const char *name;
    int baseline;                       /* the variant that it is compared with; itself: it is a baseline */
    json_t *config;                     /* {"data": ..., "model": {...}, "train": {...}}, every key present */
    struct hash fingerprint, hash;      /* of the graphs; of config + data + format version (the identity) */
    struct counts counts;
    double train_flops_per_token;
    size_t memory_bytes, offloaded_bytes;       /* of what computes; of the host, beside a GPU's */
    double prompt_flops_per_token;      /* of one as long as `seq`, read into the caches without logits */
    size_t kv_bytes_per_token, state_bytes;     /* what decoding keeps: for each token; however many there are */
    size_t draft_bytes_per_token;       /* for each token besides, where MTP blocks draft */
    enum ahead looks_ahead;                     /* what it measures then is not to be held against a causal model's */
    double start_flops;                         /* that trained what it begins with; 0: it begins with draws */
    bool replays;                               /* its choices are another run's, whose hash config has as "choices" */
};

/* dir: relative to the study's folder. shared: how many steps are those of the point `trunk`, which goes before;
   0: none, or study_trunks was not asked. start: the point after whose step `start_step` it begins, with its weights;
   -1: none of this study. */
struct point {
    int variant, replicate; uint64_t seed; char *dir; int trunk; int64_t shared; int start; int64_t start_step;
};

struct study {
    struct arena *arena;
    const char *name, *dir;             /* dir: the folder, "runs/NAME" */
    const char *script_path, *script_text, *data_path;
    const char *choices;                /* the variant whose choices are replayed, "runs/NAME/VARIANT"; NULL: none's */
    json_t *required, *record;          /* files that the script read: [{"name","xxh128","text"}]; how it was run (NULL:
                                           not known) */
    const char *primary;                /* "eval.loss": GROUP.SERIES, the metric that answers */
    const char *family;                 /* how the variants share the 5 %: a name of stats.h */
    const char *match_quantity, *match_adjust; double match_tolerance;      /* NULL: no match asked */
    int n_variants, baseline, replicates; struct variant *variant;
    int n_points; struct point *point;
};

/* From a description: {"name","script_path","script_text","base":{..},"train":{..},"data":"..","replicates":n,"seed":n,
   "choices":".." or absent,"baseline":"..","primary":"..","test":{"family":".."} or absent,
   "variants":[{"name":"..","set":{"dotted.path":value,..},"baseline":".." or absent},..],
   "match":{"quantity":"active_params","adjust":"ffn.d_ff","tolerance":x} or absent,
   "required":[..], "record":{..} or absent}. Paths in "set" that start with "train." address
   the training table, others the model. Finds all mistakes; two variants with one fingerprint are one. */
int study_resolve(const json_t *description, const struct corpus_info *data, struct study **out,
                  struct problems *problems);
int study_save(const struct study *s, struct err *e);    /* writes study.json atomically; makes folders */
/* What study_save would change. script: whose the study is, another's than the one that would take its place when
   `other`. Of the runs those that both name are kept, those that lie there from earlier brought back; what was begun
   and is not named any more becomes an earlier run, what was not begun is dropped. */
struct study_change { bool exists, other; char script[4096]; int added, kept, back, earlier, dropped; };
int study_change(const struct study *s, struct study_change *out, struct err *e);
int study_open(const char *dir, struct study **out, struct err *e);
json_t *study_write(const struct study *s);    /* what study_save writes (new reference) */
/* What a description and study.json have in common: name, script, data, record, primary metric, test. */
void study_read_head(struct study *s, const json_t *json);
int study_read(const json_t *json, struct study **out, struct err *e);      /* dir is NULL */
void study_free(struct study *s);
/* Leaves only the points of the named variants and of the baseline, or those named as VARIANT/REPLICATE; what is saved
   stays whole. */
int study_select(struct study *s, const char *const *names, int n, struct err *e);
/* seed: of replicate 0 */
/* A configuration as text, without how ranks divide a run: who goes on with it may divide it otherwise. malloc'd */
char *study_config_text(const json_t *config);
struct hash study_identity(const json_t *config, const struct corpus_info *data, uint64_t seed);
/* The data that the point was made with */
bool study_is_of(const struct study *s, const struct point *p, const struct corpus_info *data);
int study_variant(const struct study *s, const char *name);                 /* -1: there is none */
const char *study_nearest(const struct study *s, const char *name);         /* of its variants' names; NULL: none is */
/* "runs/NAME/VARIANT": a variant of a study, which is then open. */
int study_variant_at(const char *path, struct study **out, int *variant, struct err *e);
/* For study_resolve: of variants that replay, whether those whose choices they are were like them, and whose they
   are. */
void study_impose(struct study *s, const struct corpus_info *data, uint64_t seed, struct problems *problems);
/* The steps from the beginning that runs of two configurations may share; 0: too few. alike: in which they are equal,
   bit for bit; -1: more differs than steps and schedule. */
int64_t study_shared(const json_t *a, const json_t *b, int64_t *alike);
void study_trunks(struct study *s);     /* of every point: whose steps it shares, and how many; and where it starts */
/* ---- variants that begin with weights of others, init.from ---- */

/* Variants so that none comes before what it begins with; NULL: there is no such order. Of the arena. */
int *study_order(const struct study *s, struct problems *problems);
/* For study_resolve, in that order, when the hashes of what it begins with are known: checks that it can, and what it
   costs. */
void study_begin(struct study *s, int variant, struct problems *problems);
double study_start_flops(const struct study *s, int variant);       /* what training it up to there costs */
void study_link(struct study *s);       /* for study_trunks */
const char *variant_start(const struct variant *v, int64_t *step);          /* init.from's; NULL: begins with draws */
/* Where a point begins: a run's folder, or a checkpoint or file of weights. */
struct study_start { char path[4352]; bool file; int step; };
int study_start(const struct study *s, int point, struct study_start *out, struct err *e);
int study_start_variant(const struct study *s, int variant);                /* of this study; -1: none */
/* The tensors of a configuration made of a donor's; they are those of *of, to be freed also where it failed. */
int study_map(const json_t *config, const struct donor *donor, struct mapping *m, struct training_graph *of,
              struct arena *a, struct err *e);
/* The tensors of a configuration, as a donor; and of what a variant begins with, where that is a variant's of this or
   another study. */
int study_tensors(const json_t *config, struct donor *out, struct arena *a, struct err *e);
int study_donor(const struct study *s, int variant, struct donor *out, struct arena *a, struct err *e);

int study_point(const struct study *s, int variant, int replicate);         /* -1: there is none */
int study_point_named(const struct study *s, const char *name);             /* "gated/3"; -1: there is none */
bool study_uses_gpu(const struct study *s);                                 /* a variant does */
int64_t train_tokens(const struct train_conf *train, int64_t seq, int64_t steps);
int64_t variant_tokens(const struct variant *v);                            /* that a run trains on */
int64_t variant_tokens_of(const struct variant *v, int64_t steps);          /* in so many of its steps; 0: all */
enum backend_kind variant_backend(const struct variant *v);
/* How so many ranks divide a variant's runs; -1: they cannot, e says why. */
int variant_mesh(const struct variant *v, int ranks, struct mesh *out, struct err *e);
/* In place of what all variants say of that: "dp=2 ep=4", what is not named is left open. -1: it is no such text. */
int study_divide(struct study *s, const char *text, struct err *e);
char *study_point_path(const struct study *s, int point, const char *file); /* malloc'd: DIR/VARIANT-HASH8/K/FILE */

#endif
