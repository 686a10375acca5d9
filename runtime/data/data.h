/* Token files: packing text into them, checking foreign ones, and drawing batches. A batch is a pure function of
   (seed, global sample index): nothing to replay on resume. */
#ifndef SLUICE_DATA_H
#define SLUICE_DATA_H

#include "model/inputs.h"

struct corpus;
struct corpus_info {
    const char *path, *format;                              /* "sluice-tokens", "synthetic", "task", or a
                                                               foreign one: foreign.c */
    const char *tokenizer;                                  /* "byte", "symbols" of tasks, or "unknown" for foreign
                                                               files */
    int vocab; uint64_t tokens, documents, train_tokens, held_out_tokens;
    uint64_t answers, train_answers;                        /* tokens that count as targets; 0: all do, it is text */
    uint64_t samples; int sample_tokens;                    /* of a task: how many to train on, most tokens of one; all
                                                               other counts are of what is held out. Else 0 */
    double bytes_per_token;                                 /* of the text; 0 when not known */
    struct hash hash;                                       /* identity of content and split, known at once: kept in
                                                               packed files' header; synthetic: of the language's
                                                               version and seed */
};

/* Opens a token file (mapped, not read), the built-in language as "synthetic" or "synthetic:SEED", or what a task
   generates, "task:NAME:KEY=VALUE..". Every
   structural check of the format runs; a bad file is an error that names the offset, the value and the rule.
   Raw nanoGPT .bin files carry no vocabulary: a sidecar meta.json ({"vocab_size": N}) beside it or "path.bin:vocab=N"
   gives it. The hash of a packed file's content is not computed here (it costs a read of the file) but by
   corpus_verify; tables and header are checked by their own. Where ids may exceed the vocabulary the file is read
   whole: each is held against it. */
int corpus_open(struct corpus **out, const char *path, struct err *e);
/* The whole path (malloc'd) of what a script calls by a relative one: beside the script, else in the working folder;
   NULL: only there. What lies in neither, and the built-in language, stays as it is. */
char *corpus_find(const char *path, const char *script);
bool corpus_is_task(const char *path);                      /* whether it names a task, not a file */
void corpus_close(struct corpus *c);
const struct corpus_info *corpus_info(const struct corpus *c);

/* Whether the file still has all that it had when it was opened; where not, what was drawn last may be zeros. */
int corpus_whole(const struct corpus *c, struct err *e);

/* Reads all of it. Lengths are in tokens. */
struct corpus_facts { uint64_t shortest, median, longest; int ids, largest_id; };
struct corpus_facts corpus_facts(const struct corpus *c);

/* Of data with answers: tokens of an example that do not count, and that do, the shortest, the median and the longest;
   with a seq how many examples are longer, and what share of its windows is filled. */
struct answers_facts { uint64_t prompt[3], answer[3], longer; int64_t windows; double filled; };
struct answers_facts corpus_answers_facts(const struct corpus *c, int seq);

/* Holds the content of a packed file against the hash in its header; other formats have none and pass. */
int corpus_verify(const struct corpus *c, struct err *e);

/* Number of windows of seq+1 tokens in the training split; 0: too short. Of data with answers each holds whole
   documents, by best fit, and is filled up. */
int64_t corpus_windows(const struct corpus *c, int seq);

/* Fills `batch` windows of the training split starting at global sample `first`: each epoch visits every window once in
   an order keyed by (seed, epoch), and has noise of its own. */
void corpus_batch(const struct corpus *c, uint64_t seed, int64_t first, int batch, int seq, struct inputs to);

/* What is measured on: so many targets, among the `span` tokens that follow `first`, which are all of them but where
   there are answers. However it is cut into windows and batches, each is a target once, of text in the file's order;
   what fills up a window, or the last batch, is not present. */
struct eval_set { uint64_t first, span, targets; struct hash hash; };      /* hash: of the corpus' identity too */
/* Of the held-out split; most: targets, 0: all */
struct eval_set corpus_eval_set(const struct corpus *c, int64_t most);
int64_t eval_windows(const struct corpus *c, const struct eval_set *s, int seq);
void corpus_eval_batch(const struct corpus *c, const struct eval_set *s, int64_t first, int batch, int seq,
                       struct inputs to);

bool corpus_holds_tokens(const char *path);
/* JSON may hold examples: then each object is one document, made of its turns by a template, and the answers' tokens
   alone count as targets. An object that is no such example is an error. */
enum answers { ANSWERS_NONE, ANSWERS_CHAT, ANSWERS_PROMPT };
struct pack_options {
    enum answers answers;
    const char *template;                   /* NULL: in the manner of ChatML */
    double held_out;
    bool split_blank_lines;
    bool strict;                            /* JSON that cannot be used is an error; else it is skipped and counted */
    const char *key;                        /* NULL: "text"; "a.b" is b of the object a; of examples "messages" or
                                               "prompt,completion" */
    const char *const *held_out_from;
    int n_held_out_from;
};
struct packed_file {
    const char *path;
    const char *left;                       /* why nothing was taken of it, or NULL */
    uint64_t documents, bytes;              /* taken */
    uint64_t skipped;                       /* values of JSON that could not be used */
    const char *skip[3];                    /* the first of these: where and why */
    bool all_count;                         /* a token file of text joined with one that has answers */
};
struct packed {
    struct corpus_info info;
    uint64_t repeated, alike;               /* documents equal to an earlier one; only in their words */
    uint64_t contaminated;                  /* held-out documents whose words are also trained on */
    uint64_t prompts;                       /* held-out examples whose prompt's words are also trained on */
    int cause;                              /* errno, when what is compressed or piped could not be spread out */
    uint64_t hidden;                        /* files and folders whose names begin with a dot: passed over */
    struct packed_file *file;               /* [n_files], as they were met */
    int n_files, n_train, room;             /* n_train: of the inputs to train on; the rest were named to be held out */
    struct arena *arena;
};
/* What is wrong with what the options say of examples. */
int pack_check(const struct pack_options *o, struct err *e);
/* Packs inputs with the byte tokenizer into a token file, which must be none of them. An input is a folder or a
   file: text; JSON (.jsonl, .ndjson a value a line; .json one value, a list, or lines) of objects with a string
   `key`; a page (.html); sayings (.fortune, a line of "%" alone between them); each also compressed by gzip or
   zstd. held_out: share of the documents, chosen by the hash of their words: documents that differ in white space
   alone (line ends, a final newline, the kind of file they came in) or by a byte order mark fall on one side. With
   `held_out_from` all documents of these inputs are held out, and no other. When the first input holds tokens, all
   must, of one vocabulary: they are joined, and each keeps its split unless there are others to hold out. -1
   leaves errno as the system gave it when the token file, or beside it what is compressed, could not be written, 0
   when it is the inputs. */
int corpus_pack(const char *const *inputs, int n, const char *out_path, const struct pack_options *o,
                struct packed *made, struct err *e);
void packed_free(struct packed *made);

/* Cross-entropy in nats per byte of unigram and bigram byte models, fitted (add-one) on the first samples that training
   reads, NULL: on the whole training split, and measured on the targets of an evaluation set: what any model must
   beat. */
struct samples { uint64_t seed; int64_t n; int seq; };
int corpus_baselines(const struct corpus *c, const struct samples *fit, const struct eval_set *on, double *unigram,
                     double *bigram, struct err *e);

/* Bytes of a token, for samples. Returns the number of bytes written (at most 16). */
int corpus_token_text(const struct corpus *c, int token, char out[16]);

char *corpus_library(char out[64]);    /* versions of what unpacks inputs: "zlib 1.2.13, zstd 1.5.4" */

#endif
