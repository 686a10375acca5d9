/* Prompts that come as JSON lines, and answers that go as such. */
#ifndef SLUICE_SAMPLE_H
#define SLUICE_SAMPLE_H

#include "cli.h"
#include "train/generate.h"

/* One prompt: its bytes are its tokens. id: what its line says, else its number. */
struct prompt { json_t *id; char *text; int32_t *ids; int64_t n; };
struct prompts { struct prompt *prompt; int n; };

/* An error names file and line. "-": standard input. */
int prompts_read(const char *path, int64_t context, struct prompts *out, struct err *e);
struct prompts prompts_one(const char *text);
int64_t prompts_longest(const struct prompts *p);
void prompts_free(struct prompts *p);

/* {"id", "prompt", "text", "tokens", "ended"} on one line of stdout; sample: its number among those of the prompt, -1:
   it is the only one. What is no UTF-8 becomes U+FFFD. */
void prompts_answer(const struct prompt *p, const struct text *t, int sample);

#endif
