/* Texts of one batch stand so that their prompts end together: shorter ones are documents that begin later, as in
   packed training, and what stands before them is nothing to them. */
#include "texts.h"

#include <stdlib.h>
#include <string.h>

struct text texts_new(const int32_t *prompt, int64_t n, const struct limits *l, uint64_t seed, uint64_t number)
{
    struct text t = { .n = n, .prompt = n, .kept = n, .seed = seed, .number = number };
    t.ids = xmalloc((size_t)generate_most(&t, l) * sizeof *t.ids);
    memcpy(t.ids, prompt, (size_t)n * sizeof *prompt);
    return t;
}

int64_t texts_longest(const struct text *text, int n)
{
    int64_t longest = 0;
    for (int i = 0; i < n; i++) if (text[i].prompt > longest) longest = text[i].prompt;
    return longest;
}

/* Tokens of each text at positions pos.., [batch,line]; 0 where there is none. */
static void put_tokens(const struct decoder *d, const struct text *text, int n, int64_t pos, int64_t line, int32_t *ids)
{
    int64_t longest = texts_longest(text, n);
    memset(ids, 0, (size_t)(decoder_size(d)->batch * line) * sizeof *ids);
    for (int b = 0; b < n; b++)
        for (int64_t i = 0; i < line; i++) {
            int64_t at = pos + i - (longest - text[b].prompt);
            if (at >= 0 && at < text[b].n) ids[b * line + i] = text[b].ids[at];
        }
}

int64_t texts_begin(struct decoder *d, const struct text *text, int n)
{
    const struct model_size *size = decoder_size(d);
    int64_t longest = texts_longest(text, n), line = size->most + decoder_ahead(d), pos = 0;
    int64_t behind = decoder_ahead(d) ? decoder_ahead(d) : 1, *start = xcalloc((size_t)size->batch, sizeof *start);
    int32_t *ids = xmalloc((size_t)(size->batch * line + 1) * sizeof *ids);
    for (int b = 0; b < n; b++) start[b] = longest - text[b].prompt;
    decoder_begin(d, start);
    for (; size->most && pos + size->most + behind <= longest; pos += size->most) {
        put_tokens(d, text, n, pos, line, ids);
        decoder_read(d, pos, ids);
    }
    free(ids);
    free(start);
    return pos;
}

/* Whether the text goes on behind the token that its logits give it. */
static bool goes_on(const struct writing *w, struct text *t, const real *logits, int64_t vocab, double *chance)
{
    generate_chances(w->filter, logits, vocab, t, chance);
    bool on = generate_add(t, generate_pick(chance, vocab, generate_lot(t, t->n, LOT_TOKEN)), w->limits);
    if (w->told) w->told(w->context, t);
    return on;
}

void texts_write(struct decoder *d, const struct writing *w, struct text *text, int n)
{
    int64_t batch = decoder_size(d)->batch, vocab = decoder_vocab(d), longest = texts_longest(text, n);
    int32_t *ids = xmalloc((size_t)batch * sizeof *ids);
    real *logits = xmalloc((size_t)(batch * vocab) * sizeof *logits);
    double *chance = xmalloc((size_t)vocab * sizeof *chance);
    int going = n;
    for (int64_t pos = texts_begin(d, text, n); going; pos++) {
        put_tokens(d, text, n, pos, 1, ids);
        decoder_feed(d, pos, ids, logits);
        for (int b = 0; b < n && pos + 1 >= longest; b++)
            if (text[b].ending == ENDING_NONE) going -= !goes_on(w, &text[b], logits + b * vocab, vocab, chance);
    }
    free(chance);
    free(logits);
    free(ids);
}
