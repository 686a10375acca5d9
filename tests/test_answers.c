/* Data with answers: which tokens count, byte by byte; the file that says so; windows of whole examples. */
#include "data_fixture.h"

/* ---- which tokens count ---- */

static struct corpus *packed_as(enum answers how, const char *key, const char *template, const char *lines)
{
    const char *input = write_text("examples.jsonl", lines), *out = in("examples.tok");
    struct pack_options o = { .answers = how, .key = key, .template = template };
    struct packed made;
    struct err e;
    if (corpus_pack(&input, 1, out, &o, &made, &e)) fail_msg("%s", e.text);
    packed_free(&made);
    struct corpus *c = open_good(out);
    if (corpus_verify(c, &e)) fail_msg("%s", e.text);
    return c;
}

/* The text, and under it "^" where a byte is to count as a target. */
static void check_marks(struct corpus *c, const char *text, const char *marks)
{
    int n = (int)strlen(text), counted = 0;
    assert_int_equal(n, strlen(marks));
    assert_int_equal(corpus_info(c)->tokens, n);
    struct windows b = take(c, 1, 0, 1, n - 1);
    for (int i = 1; i < n; i++) {
        assert_int_equal(b.ids[i - 1], text[i - 1]);
        assert_int_equal(b.target[i - 1], text[i]);
        if ((b.weight[i - 1] == 1) != (marks[i] == '^')) fail_msg("byte %d, '%c', counts or not", i, text[i]);
        assert_true(b.present[i - 1] == 1);
        counted += marks[i] == '^';
    }
    assert_int_equal(corpus_info(c)->answers, counted);
    corpus_close(c);
}

static void test_tokens_that_count(void **state)
{
    (void)state;
    check_marks(packed_as(ANSWERS_CHAT, NULL, NULL,
                          "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}, "
                          "{\"content\": \"Yo\", \"role\": \"assistant\"}]}\n"),
                "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYo<|im_end|>\n",
                "                                                    ^^^^^^^^^^^^ ");
    check_marks(packed_as(ANSWERS_PROMPT, NULL, NULL, "{\"prompt\": \"Hi\", \"completion\": \"Yo\"}\n"),
                "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYo<|im_end|>\n",
                "                                                    ^^^^^^^^^^^^ ");
    check_marks(packed_as(ANSWERS_CHAT, "turns", "{{{role}: {content}\\n",
                          "{\"turns\": [{\"role\": \"assistant\", \"content\": \"a\"}, "
                          "{\"role\": \"user\", \"content\": \"b\"}, {\"role\": \"assistant\", \"content\": \"\"}]}"),
                "{assistant: a\n{user: b\n{assistant: \n",
                "            ^^                     ^");
    check_marks(packed_as(ANSWERS_PROMPT, "q,a", "{prompt}={completion};{end}.", "{\"a\": \"4\", \"q\": \"2+2\"}"),
                "2+2=4;.",
                "    ^^ ");
    check_marks(packed_as(ANSWERS_PROMPT, NULL, "{prompt}{completion}.", "{\"prompt\": \"\", \"completion\": \"abc\"}"),
                "abc.", " ^^^");                            /* nothing predicts the first */
}

/* ---- what is wrong ---- */

static void example_refused(enum answers how, const char *line, const char *words)
{
    char lines[500];
    snprintf(lines, sizeof lines, "%s\n%s\n", how == ANSWERS_CHAT
             ? "{\"messages\": [{\"role\": \"assistant\", \"content\": \"a\"}]}"
                 : "{\"prompt\": \"a\", \"completion\": \"b\"}",
             line);
    const char *input = write_text("wrong.jsonl", lines);
    struct pack_options o = { .answers = how };
    struct packed made;
    struct err e;
    if (!corpus_pack(&input, 1, in("wrong.tok"), &o, &made, &e)) fail_msg("%s was packed; expected: %s", line, words);
    packed_free(&made);
    char all[300];
    snprintf(all, sizeof all, "wrong.jsonl:2: column %s", words);
    if (!strstr(e.text, all)) fail_msg("'%s'\n  lacks '%s'", e.text, all);
}

static void test_wrong_examples(void **state)
{
    (void)state;
    static const char *const chat[][2] = {
        { "{\"mesages\": []}", "1: no field 'messages' (is it 'mesages'?); there is mesages" },
        { "{}", "1: no field 'messages'" },
        { "{\"messages\": {}}", "14: 'messages' is an object: must be a list of messages" },
        { "{\"messages\": null}", "14: 'messages' is null: must be a list of messages" },
        { "{\"messages\": []}", "14: 'messages' is an empty list" },
        { "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}",
          "14: 'messages' has no message of the assistant" },
        { "{\"messages\": [{\"role\": \"asistant\", \"content\": \"a\"}]}",
          "15: message 1: 'role' is 'asistant' (did you mean 'assistant'?): must be system, user or assistant" },
        { "{\"messages\": [{\"role\": \"user\", \"content\": 5}]}",
          "43: message 1: 'content' is a number: must be a string" },
        { "{\"messages\": [{\"from\": \"gpt\", \"value\": \"a\"}]}",
          "15: message 1: no field 'role'; there is from, value" },
        { "{\"messages\": [\"a\"]}", "15: message 1: the value is a string: must be an object" },
        { "[]", "1: the value is a list: must be an object" },
        { "\"a\"", "1: the value is a string: must be an object" },
        { "{\"messages\": [}", "15: " },
        { "{\"messages\": [{\"role\": \"user\" \"content\": \"a\"}]}", "31: expected ',' or '}'" },
    };
    static const char *const prompt[][2] = {
        { "{\"promt\": \"a\", \"completion\": \"b\"}",
          "1: no field 'prompt' (is it 'promt'?); there is promt, completion" },
        { "{\"prompt\": \"a\"}", "1: no field 'completion'; there is prompt" },
        { "{\"prompt\": [\"a\"], \"completion\": \"b\"}", "12: 'prompt' is a list: must be a string" },
        { "{\"prompt\": \"a\", \"completion\": true}", "31: 'completion' is true or false: must be a string" },
    };
    for (int i = 0; i < COUNT(chat); i++) example_refused(ANSWERS_CHAT, chat[i][0], chat[i][1]);
    for (int i = 0; i < COUNT(prompt); i++) example_refused(ANSWERS_PROMPT, prompt[i][0], prompt[i][1]);
}

static void test_wrong_templates(void **state)
{
    (void)state;
    static const struct { enum answers how; const char *template, *words; } wrong[] = {
        { ANSWERS_CHAT, "a{role}\n{contents}x",
          "line 2: column 1: no placeholder '{contents}' (did you mean '{content}'?)" },
        { ANSWERS_CHAT, "{role}", "line 1: column 7: '{content}' is missing: there is no answer in it" },
        { ANSWERS_CHAT, "{content}.", "line 1: column 11: '{role}' is missing" },
        { ANSWERS_CHAT, "{role}{content}", "line 1: column 16: nothing closes the answer" },
        { ANSWERS_CHAT, "{role}{content}{end}.", "nothing closes the answer" },
        { ANSWERS_CHAT, "{content}{role}", "line 1: column 10: '{role}' must come before '{content}'" },
        { ANSWERS_CHAT, "{role}{end}{content}.", "line 1: column 7: '{end}' must come behind '{content}'" },
        { ANSWERS_CHAT, "{role}{content}{content}", "line 1: column 16: '{content}' comes again" },
        { ANSWERS_PROMPT, "{role}{content}.", "line 1: column 1: no placeholder '{role}'" },
        { ANSWERS_PROMPT, "{prompt}\\r", "line 1: column 9: no such escape" },
        { ANSWERS_PROMPT, "{prompt", "line 1: column 1: '{' is not closed" },
        { ANSWERS_PROMPT, "}", "line 1: column 1: '}' closes nothing" },
    };
    struct err e;
    for (int i = 0; i < COUNT(wrong); i++) {
        struct pack_options o = { .answers = wrong[i].how, .template = wrong[i].template };
        if (!pack_check(&o, &e)) fail_msg("%s was taken", wrong[i].template);
        if (!strstr(e.text, wrong[i].words)) fail_msg("'%s'\n  lacks '%s'", e.text, wrong[i].words);
    }
    assert_int_equal(pack_check(&(struct pack_options){ .template = "a" }, &e), -1);
    assert_int_equal(pack_check(&(struct pack_options){ .answers = ANSWERS_PROMPT, .key = "a" }, &e), -1);
    assert_int_equal(pack_check(&(struct pack_options){ .answers = ANSWERS_CHAT, .key = "a,b" }, &e), -1);
}

/* ---- the file ---- */

/* Of text it is what it was before there were answers. */
static void test_text_is_as_before(void **state)
{
    (void)state;
    const char *input = write_text("text.txt", "one\n\ntwo\n\nthree\n");
    struct packed made = pack(&input, 1, in("text.tok"), 0, true);
    char hash[33];
    hash_print(made.info.hash, hash);
    assert_string_equal(hash, "d847c965456c5587561fb8f8ef15e910");
    struct corpus *c = open_good(in("text.tok"));
    assert_true(corpus_info(c)->answers == 0 && hash_equal(corpus_info(c)->hash, made.info.hash));
    corpus_close(c);
}

static void test_damage_is_found(void **state)
{
    (void)state;
    size_t size;
    struct corpus *c = packed_as(ANSWERS_PROMPT, NULL, "{prompt}={completion};",
                                 "{\"prompt\": \"a\", \"completion\": \"b\"}\n"
                                 "{\"prompt\": \"cd\", \"completion\": \"efg\"}\n");
    struct err e;
    uint64_t tokens = corpus_info(c)->tokens;
    corpus_close(c);
    unsigned char *bytes = read_bytes(in("examples.tok"), &size);
    for (size_t at = 0; at < 8 * size; at++) {
        bytes[at / 8] ^= (unsigned char)(1 << at % 8);
        const char *path = write_bytes("flip.tok", bytes, size);
        bytes[at / 8] ^= (unsigned char)(1 << at % 8);
        if (corpus_open(&c, path, &e)) continue;
        if (at / 8 < sizeof(struct token_header) || at / 8 >= sizeof(struct token_header) + (tokens + 7) / 8 * 8)
            fail_msg("a flipped bit at %zu was not found at opening", at / 8);
        assert_int_equal(corpus_verify(c, &e), -1);
        corpus_close(c);
    }
    struct token_header *h = (void *)bytes;
    uint64_t *answer = (uint64_t *)(void *)(bytes + tokens_bounds_at(h)) + tokens_bounds_words(h), good = *answer;
    static const struct { uint64_t bits; const char *words; } wrong[] = {
        { 0, "no token counts as an answer" }, { 1, "the first token of document 0 counts: nothing predicts it" },
        { 1 << 11 | 8, "answers beyond the last of 11 tokens" },
    };
    assert_int_equal(good, 0x78c);
    for (int i = 0; i < COUNT(wrong); i++) {
        *answer = wrong[i].bits;
        seal(bytes, size);
        refused(write_bytes("bad.tok", bytes, size), wrong[i].words);
    }
    free(bytes);
}

/* Of text all tokens count but the first; what has answers keeps them. */
static void test_join(void **state)
{
    (void)state;
    corpus_close(packed_as(ANSWERS_PROMPT, NULL, "{prompt}={completion};",
        "{\"prompt\": \"a\", \"completion\": \"b\"}\n"));
    const char *text = "text", *inputs[] = { make_tokens("text.tok", &text, 1, 0), in("examples.tok") };
    struct pack_options o = { 0 };
    struct packed made;
    struct err e;
    for (int order = 0; order < 2; order++) {
        const char *both[] = { inputs[order], inputs[1 - order] };
        if (corpus_pack(both, 2, in("both.tok"), &o, &made, &e)) fail_msg("%s", e.text);
        assert_true(made.file[order].all_count && !made.file[1 - order].all_count);
        packed_free(&made);
        struct corpus *c = open_good(in("both.tok"));
        struct windows b = take(c, 1, 0, 1, 7);
        static const float weight[2][7] = { { 1, 1, 1, 0, 0, 1, 1 }, { 0, 1, 1, 0, 1, 1, 1 } };
        for (int i = 0; i < 7; i++) assert_true(b.weight[i] == weight[order][i]);
        assert_true(corpus_info(c)->answers == 5 && corpus_verify(c, &e) == 0);
        corpus_close(c);
    }
}

/* ---- windows ---- */

enum { EXAMPLES = 200 };

/* Example d says its number, at many lengths; its answer is one to nine digits. */
static struct corpus *many(double held_out)
{
    FILE *f = fopen(in("many.jsonl"), "wb");
    for (int d = 0; d < EXAMPLES; d++)
        fprintf(f, "{\"prompt\": \"%03d%.*s\", \"completion\": \"%.*s\"}\n", d, d * 7 % 23,
            "abcdefghijklmnopqrstuvwxyz",
                1 + d % 9, "123456789");
    fclose(f);
    const char *input = in("many.jsonl");
    struct pack_options o = { .answers = ANSWERS_PROMPT, .template = "{prompt}={completion};{end}\n",
        .held_out = held_out };
    struct packed made;
    struct err e;
    if (corpus_pack(&input, 1, in("many.tok"), &o, &made, &e)) fail_msg("%s", e.text);
    assert_true(made.prompts == 0 && made.contaminated == 0);
    packed_free(&made);
    return open_good(in("many.tok"));
}

/* An example is a document that begins where it begins, and is whole where it fits; what fills up is a document of its
   own; each answer's token is a target once an epoch. */
static void check_windows(const struct windows *b, int batch, int seq, int longest, int *targets)
{
    for (int w = 0; w < batch; w++)
        for (int s = 0; s < seq; s++) {
            int at = w * seq + s;
            assert_true(b->weight[at] == 0 || (b->weight[at] == 1 && b->present[at] == 1));
            *targets += b->weight[at] == 1;
            if (b->present[at] == 0) {
                bool first = s == 0 || b->present[at - 1] == 1;
                assert_true(b->ids[at] == 0 && b->start[at] == (first ? s : b->start[at - 1]));
                continue;
            }
            bool begins = b->start[at] == s;
            if (longest <= seq) assert_true(!begins || (b->ids[at] >= '0' && b->ids[at] <= '9'));
            if (s > 0 && begins) assert_int_equal(b->ids[at - 1], '\n');
            if (b->weight[at]) assert_true((b->target[at] >= '1' && b->target[at] <= '9') || b->target[at] == ';');
        }
}

static void test_whole_in_windows(void **state)
{
    (void)state;
    static const int seqs[] = { 8, 16, 40, 64, 300 };
    struct corpus *c = many(0.2);
    const struct corpus_info *i = corpus_info(c);
    for (int k = 0; k < COUNT(seqs); k++) {
        int seq = seqs[k], targets = 0;
        int64_t n = corpus_windows(c, seq);
        for (int64_t w = 0; w < n; w++) {
            struct windows b = take(c, 3, n + w, 1, seq);
            int before = targets;
            check_windows(&b, 1, seq, 40, &targets);
            assert_true(targets > before);
        }
        assert_int_equal(targets, i->train_answers);
        struct answers_facts f = corpus_answers_facts(c, seq);
        assert_true(f.windows == n && f.filled > 0.5 && f.filled <= 1 && (f.longer > 0) == (seq < 40));
        for (int most = 0; most <= 60; most += 30) {        /* and an evaluation measures as many of them as asked */
            struct eval_set s = corpus_eval_set(c, most);
            targets = 0;
            assert_int_equal(s.targets, most ? (uint64_t)most : i->answers - i->train_answers);
            for (int64_t w = 0; w < eval_windows(c, &s, seq) + 2; w++) {
                struct windows b = held(c, most, w, 1, seq);
                check_windows(&b, 1, seq, 40, &targets);
            }
            assert_int_equal(targets, s.targets);
        }
    }
    corpus_close(c);
}

/* From the longest on, each goes where the least room is left that is enough: the last window alone has empty rows.
   The last token of a full window is a target alone. */
static void test_best_fit(void **state)
{
    (void)state;
    static const int length[] = { 3, 7, 5, 2, 4, 6, 5 };
    static const char *const window[] = { "aa.bbbbbb", "eee.fffff", "cccc.gggg", "d." };
    char lines[1000] = "";
    for (int d = 0; d < COUNT(length); d++) {
        char prompt[8] = "";
        memset(prompt, 'a' + d, (size_t)length[d] - 2);
        snprintf(lines + strlen(lines), sizeof lines - strlen(lines), "{\"prompt\": \"%s\", \"completion\": \"%c\"}\n",
                 prompt, 'a' + d);
    }
    struct corpus *c = packed_as(ANSWERS_PROMPT, NULL, "{prompt}{completion}.", lines);
    assert_int_equal(corpus_windows(c, 9), COUNT(window));
    for (int seed = 0; seed < 3; seed++) {                  /* each once an epoch */
        bool seen[COUNT(window)] = { false };
        for (int w = 0; w < COUNT(window); w++) {
            struct windows b = take(c, (uint64_t)seed, w, 1, 9);
            char text[10] = "";
            for (int s = 0; s < 9 && b.present[s] == 1; s++) text[s] = (char)b.ids[s];
            for (int i = 0; i < COUNT(window); i++) seen[i] |= strcmp(text, window[i]) == 0;
        }
        for (int i = 0; i < COUNT(window); i++) if (!seen[i]) fail_msg("no window '%s'", window[i]);
    }
    assert_true(fabs(corpus_answers_facts(c, 9).filled - 29.0 / 36) < 1e-9);
    corpus_close(c);
}

/* Where all of one document counts, windows and their order are those of text. */
static void test_all_count(void **state)
{
    (void)state;
    enum { SEQ = 16 };
    const char *const text[] = { "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ()[]" };
    struct corpus *plain = open_good(make_tokens("plain.tok", text, 1, 0)),
                  *c = packed_as(ANSWERS_PROMPT, NULL, "{prompt}{completion}]",
                                 "{\"prompt\": \"0\", \"completion\": "
                                 "\"123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ()[\"}");
    assert_int_equal(corpus_windows(c, SEQ), corpus_windows(plain, SEQ) + 1);
    corpus_close(c);
    c = packed_as(ANSWERS_PROMPT, NULL, "{prompt}{completion}[",
                  "{\"prompt\": \"0\", \"completion\": "
                  "\"123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ()\"}");
    assert_int_equal(corpus_windows(c, SEQ), 4);
    for (int first = 0; first < 12; first += 4) {
        struct windows a = take(plain, 5, first, 4, SEQ), b = take(c, 5, first, 4, SEQ);
        assert_memory_equal(&a, &b, sizeof a);
    }
    corpus_close(c);
    corpus_close(plain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokens_that_count), cmocka_unit_test(test_wrong_examples),
        cmocka_unit_test(test_wrong_templates), cmocka_unit_test(test_text_is_as_before),
        cmocka_unit_test(test_damage_is_found), cmocka_unit_test(test_join), cmocka_unit_test(test_whole_in_windows),
        cmocka_unit_test(test_best_fit), cmocka_unit_test(test_all_count),
    };
    return RUN_DATA_TESTS(tests);
}
