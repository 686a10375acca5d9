/* The synthetic language: a function of its seed, and what is said in it far apart agrees. */
#include "data_fixture.h"

/* Held-out text from its first document, as one string. */
static char *held_out_text(const struct corpus *c, int bytes)
{
    enum { SEQ = 500 };
    char *text = xcalloc(1, (size_t)bytes + SEQ + 1);
    for (int at = 0; at < bytes; at += SEQ) {
        struct windows b = held(c, 0, at / SEQ, 1, SEQ);
        for (int s = 0; s < SEQ; s++) text[at + s] = (char)b.ids[s];
    }
    return text;
}

static void test_synthetic_is_a_function_of_its_seed(void **state)
{
    (void)state;
    double begin = clock_seconds();
    struct corpus *c = open_good("synthetic"), *same = open_good("synthetic:1"), *other = open_good("synthetic:2");
    assert_true(clock_seconds() - begin < 3 * 0.15);
    const struct corpus_info *i = corpus_info(c);
    assert_true(hash_equal(i->hash, corpus_info(same)->hash));
    assert_false(hash_equal(i->hash, corpus_info(other)->hash));
    assert_in_range(i->tokens, 7500000, 8500000);
    assert_int_equal(i->vocab, 256);
    assert_string_equal(i->format, "synthetic");
    char *a = held_out_text(c, 100000), *b = held_out_text(same, 100000), *o = held_out_text(other, 100000);
    assert_string_equal(a, b);
    assert_int_not_equal(strcmp(a, o), 0);
    for (int64_t first = 0; first < 50; first++) {    /* random access gives what reading in order gives */
        struct windows one = take(c, 7, first, 1, 300), two = take(same, 7, first, 1, 300);
        assert_memory_equal(&one, &two, sizeof one);
    }
    /* The identity names the version of the language: a change of the text must change LANGUAGE_VERSION, and this. */
    char hash[33];
    hash_print(hash_bytes(a, 100000), hash);
    assert_string_equal(hash, "7e39ea2c8c80131500008332af85cca7");
    free(a); free(b); free(o);
    corpus_close(c); corpus_close(same); corpus_close(other);
}

struct reach { int documents, people, recur, far, facts, brackets, lists; };

/* Who has what is said in the first sentence, "NAME has the QUALITY THING and NAME has ..", and stays true. */
static void check_facts(const char *text, const char *end, struct reach *r)
{
    char name[16], has[16], the[16], quality[16], thing[16], claim[64];
    int used = 0;
    for (const char *at = text;
         sscanf(at, "%15s %15s %15s %15s %15[a-z]%n", name, has, the, quality, thing, &used) == 5; at += used + 4) {
        snprintf(claim, sizeof claim, "%s %s %s ", name, has, the);
        size_t length = strlen(claim);
        const char *again = strstr(at + used, name);
        r->people++;
        r->recur += again != NULL;
        r->far += again && again - at > 100;
        for (const char *said = at; (said = strstr(said + 1, claim)); r->facts++) {
            if (end - said < 32) break;                                     /* perhaps cut */
            size_t n = strlen(quality);
            assert_memory_equal(said + length, quality, n);
            assert_memory_equal(said + length + n + 1, thing, strlen(thing));
        }
        if (at[used] == '.') break;
    }
}

static void check_brackets(const char *text, struct reach *r)
{
    char closing[8];
    int depth = 0;
    for (; *text; text++) {
        const char *open = strchr("([{", *text);
        if (open) {
            closing[depth++] = ")]}"[open - "([{"];
            assert_true(depth < 8);
        } else if (strchr(")]}", *text)) {
            assert_true(depth > 0 && closing[--depth] == *text);
            r->brackets++;
        } else if (*text == '.') assert_int_equal(depth, 0);
    }
}

/* "NUMERAL things: a, b and c.": a numeral always stands before equally long lists. */
static void check_lists(const char *text, int items[26][26], struct reach *r)
{
    for (const char *colon = text; (colon = strchr(colon + 1, ':'));) {
        const char *dot = strchr(colon, '.'), *numeral = colon;
        if (!dot) return;                                                   /* cut */
        for (int words = 0; words < 2; words++) while (numeral > text && *--numeral != ' ' && *numeral != '\n') { }
        numeral += numeral > text;
        int n = 2, *known = &items[numeral[0] - 'a'][numeral[1] - 'a'];
        for (const char *at = colon; at < dot; at++) n += *at == ',';
        if (*known) assert_int_equal(*known, n);
        *known = n;
        r->lists++;
    }
}

static void test_synthetic_reaches_far(void **state)
{
    (void)state;
    enum { SEQ = 500 };
    struct corpus *c = open_good("synthetic:3");
    struct reach r = { 0 };
    int items[26][26] = { { 0 } }, size = 0;
    char text[4001];
    struct eval_set all = corpus_eval_set(c, 0);
    for (int64_t w = 0; w < (int64_t)all.targets / SEQ; w++) {
        struct windows b = held(c, 0, w, 1, SEQ);
        for (int s = 0; s < SEQ; s++) {
            assert_in_range(size, 0, 3999);
            text[size++] = (char)b.ids[s];
            if (b.weight[s] == 1) continue;                                 /* a document ends here */
            assert_in_range(size, 500, 4000);
            text[size] = 0;
            check_facts(text, text + size, &r);
            check_brackets(text, &r);
            check_lists(text, items, &r);
            r.documents++;
            size = 0;
        }
    }
    corpus_close(c);
    assert_in_range(r.documents, 178, 180);
    assert_in_range(r.people, 2 * r.documents + 1, 4 * r.documents);
    assert_true(r.recur > r.people * 97 / 100 && r.far > r.people / 4);
    assert_true(r.facts > 2 * r.documents && r.brackets > 5 * r.documents && r.lists > 3 * r.documents);
}

static void test_synthetic_baselines(void **state)
{
    (void)state;
    struct corpus *c = open_good("synthetic");
    double unigram, bigram;
    struct err e;
    assert_int_equal(baselines(c, NULL, &unigram, &bigram, &e), 0);
    assert_true(unigram > bigram + 0.5 && bigram > 1.8);
    corpus_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_synthetic_is_a_function_of_its_seed),
        cmocka_unit_test(test_synthetic_reaches_far),
        cmocka_unit_test(test_synthetic_baselines),
    };
    return RUN_DATA_TESTS(tests);
}
