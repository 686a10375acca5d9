/* The built-in language, for work without a corpus: pseudo-words of a Zipf lexicon in a small grammar whose rules reach
   far. What a document introduces in its first line (who owns what) it repeats to its end; its tense and its topic
   never change; verbs agree with subjects across nested brackets; a list has as many items as its number says.
   Documents are functions of (seed, number): written when read, and kept nowhere. */
#include "corpus.h"

#include <string.h>

enum { LANGUAGE_VERSION = 1 };              /* part of the identity: changes with any change of the text */
enum { DOCUMENTS = 3600, HELD_OUT = 180, SHORTEST = 500, LONGEST = 4000 };
enum { NOUNS = 300, VERBS = 120, ADJECTIVES = 80, NAMES = 200, TOPICS = 16, PEOPLE = 4, DEEPEST = 3 };
enum { THE, AND, HAS, IN, ONE, FUNCTIONS = ONE + 5 };                       /* ONE .. : the numerals 1 to 5 */
enum { NOUN = FUNCTIONS, VERB = NOUN + NOUNS, ADJECTIVE = VERB + VERBS, NAME = ADJECTIVE + ADJECTIVES,
       WORDS = NAME + NAMES };

struct language {
    uint64_t seed;
    char word[WORDS][8];
    double harmonic[NOUNS + 1];    /* 1 + 1/2 + .. + 1/r: Zipf's law without a logarithm, the same everywhere */
};

struct person { int name, thing, quality; };
struct page {
    const struct language *language;
    struct key key;
    uint64_t draws;
    char *text;
    int used, size, topic, tense, people;
    bool joined;                            /* the next word follows without a space */
    struct person person[PEOPLE];
};

static uint64_t below(struct page *p, uint64_t n) { return key_below(p->key, p->draws++, n); }
static bool chance(struct page *p, double share) { return key_uniform(p->key, p->draws++) < share; }

static int zipf(struct page *p, int n)
{
    const double *harmonic = p->language->harmonic;
    double x = key_uniform(p->key, p->draws++) * harmonic[n];
    int low = 0, high = n;                  /* harmonic[low] <= x < harmonic[high] */
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (harmonic[middle] <= x) low = middle; else high = middle;
    }
    return low;
}

static void put(struct page *p, const char *text)
{
    while (*text && p->used < p->size) p->text[p->used++] = *text++;
}

static void say(struct page *p, int word, const char *ending)
{
    if (!p->joined) put(p, " ");
    put(p, p->language->word[word]);
    put(p, ending);
    p->joined = false;
}

/* Each topic has its own most frequent nouns. */
static int noun(struct page *p) { return (zipf(p, NOUNS) + p->topic * (NOUNS / TOPICS)) % NOUNS; }

static void verb(struct page *p, bool plural)
{
    static const char *const ending[3][2] = { { "at", "ant" }, { "es", "ens" }, { "or", "orn" } };
    say(p, VERB + zipf(p, VERBS), ending[p->tense][plural]);
}

static void owned(struct page *p, const struct person *who)
{
    say(p, THE, "");
    say(p, ADJECTIVE + who->quality, "");
    say(p, NOUN + who->thing, "");
}

static void fact(struct page *p, const struct person *who)
{
    say(p, NAME + who->name, "");
    say(p, HAS, "");
    owned(p, who);
}

/* Returns whether the verb must be plural, and in *who the person spoken of, or NULL. */
static bool subject(struct page *p, const struct person **who)
{
    *who = NULL;
    if (chance(p, 0.4)) {
        bool plural = chance(p, 0.35);
        say(p, THE, "");
        if (chance(p, 0.3)) say(p, ADJECTIVE + zipf(p, ADJECTIVES), plural ? "i" : "");
        say(p, NOUN + noun(p), plural ? "i" : "");
        return plural;
    }
    int first = (int)below(p, (uint64_t)p->people);
    say(p, NAME + p->person[first].name, "");
    if (chance(p, 0.7)) {
        *who = &p->person[first];
        return false;
    }
    say(p, AND, "");
    say(p, NAME + p->person[(first + 1) % p->people].name, "");
    return true;
}

static void clause(struct page *p, int depth)
{
    static const char *const bracket[3][2] = { { " (", ")" }, { " [", "]" }, { " {", "}" } };
    const struct person *who;
    bool plural = subject(p, &who);
    if (depth < DEEPEST && chance(p, 0.3)) {
        const char *const *b = bracket[below(p, 3)];
        put(p, b[0]);
        p->joined = true;
        clause(p, depth + 1);
        put(p, b[1]);
    }
    verb(p, plural);
    if (who && chance(p, 0.5)) owned(p, who);
    else { say(p, THE, ""); say(p, NOUN + noun(p), ""); }
    if (chance(p, 0.25)) { say(p, IN, ""); say(p, THE, ""); say(p, NOUN + noun(p), ""); }
}

static void count(struct page *p)
{
    int items = 2 + (int)below(p, 4);
    say(p, ONE + items - 1, "");
    say(p, NOUN + noun(p), "i:");
    for (int i = 0; i < items; i++) {
        if (i == items - 1) say(p, AND, "");
        say(p, NOUN + noun(p), i < items - 2 ? "," : "");
    }
}

static void everyone(struct page *p)
{
    for (int i = 0; i < p->people; i++) {
        if (i == p->people - 1) say(p, AND, "");
        say(p, NAME + p->person[i].name, i < p->people - 2 ? "," : "");
    }
    verb(p, true);
}

static void introduction(struct page *p)
{
    struct key names = { p->language->seed, PURPOSE_DATA, hash_name("synthetic names"), p->key.step };
    for (int i = 0; i < p->people; i++) {
        struct person *who = &p->person[i];
        who->name = (int)corpus_permute(names, (uint64_t)i, NAMES);         /* distinct within a document */
        who->thing = (int)below(p, NOUNS);
        who->quality = (int)below(p, ADJECTIVES);
        if (i) say(p, AND, "");
        fact(p, who);
    }
}

static void sentence(struct page *p)
{
    double kind = key_uniform(p->key, p->draws++);
    if (p->used == 0) introduction(p);
    else if (kind < 0.15) fact(p, &p->person[below(p, (uint64_t)p->people)]);
    else if (kind < 0.30) count(p);
    else if (kind < 0.38) everyone(p);
    else clause(p, 0);
    bool paragraph = chance(p, 1. / 6);
    put(p, paragraph ? ".\n" : ".");
    p->joined = paragraph;
}

/* Cut at its size, as a page would be: the bounds must be known before the text. */
static void write_document(const struct language *l, uint64_t number, char *text, int size)
{
    struct key key = { l->seed, PURPOSE_DATA, hash_name("synthetic document"), number };
    struct page p = { .language = l, .key = key, .text = text, .size = size, .joined = true };
    p.topic = (int)below(&p, TOPICS);
    p.tense = (int)below(&p, 3);
    p.people = 2 + (int)below(&p, PEOPLE - 1);
    while (p.used < size - 1) sentence(&p);
    text[size - 1] = '\n';
}

static void read_documents(const struct corpus *c, uint64_t first, int64_t tokens, int32_t *ids)
{
    char text[LONGEST];
    for (uint64_t d = corpus_document(c, first), end = first + (uint64_t)tokens; first < end; d++) {
        write_document(c->language, d, text, (int)(c->bound[d + 1] - c->bound[d]));
        for (; first < end && first < c->bound[d + 1]; first++) *ids++ = (unsigned char)text[first - c->bound[d]];
    }
}

static char *syllable(char *to, uint64_t number)
{
    *to++ = "bdfgklmnprstvz"[number / 5 % 14];
    *to++ = "aeiou"[number % 5];
    return to;
}

/* Function words are one syllable, content words two or three: distinct, because permutations number them. */
static void make_word(struct language *l, int i)
{
    enum { SYLLABLES = 70, CODAS = 5, OFTEN = 24 };
    struct key key = { l->seed, PURPOSE_DATA, hash_name("synthetic lexicon"), 0 };
    char *to = l->word[i];
    if (i < FUNCTIONS) {
        syllable(to, corpus_permute(key, (uint64_t)i, SYLLABLES));
        return;
    }
    uint64_t number = corpus_permute(key, (uint64_t)i, SYLLABLES * SYLLABLES * CODAS);
    int first = i < VERB ? NOUN : i < ADJECTIVE ? VERB : i < NAME ? ADJECTIVE : NAME;
    to = syllable(syllable(to, number / CODAS / SYLLABLES), number / CODAS);
    if (i - first >= OFTEN) to = syllable(to, key_below(key, (uint64_t)i, SYLLABLES));
    *to = "nrlsk"[number % CODAS];
    if (i >= NAME) l->word[i][0] = (char)(l->word[i][0] - 'a' + 'A');
}

void synthetic_open(struct corpus *c, uint64_t seed)
{
    struct language *l = arena_alloc(c->arena, sizeof *l);
    l->seed = seed;
    for (int i = 0; i < WORDS; i++) make_word(l, i);
    for (int r = 0; r < NOUNS; r++) l->harmonic[r + 1] = l->harmonic[r] + 1. / (r + 1);
    uint64_t *bound = arena_alloc(c->arena, (DOCUMENTS + 1) * sizeof *bound), identity[2] = { LANGUAGE_VERSION, seed };
    struct key key = { seed, PURPOSE_DATA, hash_name("synthetic length"), 0 };
    for (uint64_t d = 0; d < DOCUMENTS; d++)
        bound[d + 1] = bound[d] + SHORTEST + key_below(key, d, LONGEST - SHORTEST + 1);
    c->language = l;
    c->bound = bound;
    c->train_documents = DOCUMENTS - HELD_OUT;
    c->read = read_documents;
    c->info = (struct corpus_info){
        .path = c->info.path, .format = "synthetic", .tokenizer = "byte", .vocab = 256, .tokens = bound[DOCUMENTS],
        .documents = DOCUMENTS,
        .train_tokens = bound[DOCUMENTS - HELD_OUT], .held_out_tokens = bound[DOCUMENTS] - bound[DOCUMENTS - HELD_OUT],
        .bytes_per_token = 1, .hash = hash_bytes(identity, sizeof identity),
    };
}
