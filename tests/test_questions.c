/* Questions as files have them: each form's prompt and choices, what is refused and with which words,
    llm.c's file. */
#include "data_fixture.h"
#include "tasks/questions.h"

#define TEXT(...) #__VA_ARGS__

static struct questions read_good(const char *path, const char *form)
{
    struct questions q;
    struct err e;
    if (questions_read(&q, path, form, &e)) fail_msg("%s", e.text);
    return q;
}

static void bad(const char *path, const char *form, const char *words)
{
    struct questions q;
    struct err e;
    if (!questions_read(&q, path, form, &e)) fail_msg("%s was accepted; expected: %s", path, words);
    if (!strstr(e.text, words)) fail_msg("'%s'\n  lacks '%s'", e.text, words);
}

/* One line is this question: what stands before, and choices that are divided by '|'. */
static void one(const char *form, const char *line, const char *name, const char *before, const char *choices,
    int gold)
{
    struct questions q = read_good(write_text("one.jsonl", line), form);
    char all[1024] = "";
    assert_int_equal(q.n, 1);
    assert_string_equal(q.form, name);
    for (int i = 0; i < q.question->n; i++) {
        assert_string_equal(q.question->choice[i].before, before);
        strcat(strcat(all, i ? "|" : ""), q.question->choice[i].text);
    }
    assert_string_equal(all, choices);
    assert_int_equal(q.question->gold, gold);
    questions_free(&q);
}

static void forms_are_told_by_their_fields(void **state)
{
    (void)state;
    one(NULL, TEXT({"ind": 4, "activity_label": "Removing ice", "ctx_a": "A man [laughs] scrapes.",
        "ctx_b": "then HE", "endings": [" wins  the race [title] twice", "[unclosed"], "label": "1"}),
        "hellaswag", "Removing ice: A man scrapes. Then he", "wins the race. twice|[unclosed", 1);
    one(NULL, TEXT({"goal": "open it", "sol1": "pull", "sol2": "push", "label": 1}), "piqa",
        "Question: open it\nAnswer:", "pull|push", 1);
    one("arc", TEXT({"id": "M1", "question": {"stem": "Why?", "choices": [{"text": "so", "label": "A"},
        {"text": "no", "label": "B"}, {"text": "yes", "label": "C"}]}, "answerKey": "C"}),
        "arc", "Question: Why?\nAnswer:", "so|no|yes", 2);
    one(NULL, TEXT({"question": "Why?", "choices": {"text": ["so", "no"], "label": ["1", "2"]}, "answerKey": "2"}),
        "arc", "Question: Why?\nAnswer:", "so|no", 1);
    one(NULL, TEXT({"question_stem": "The sun", "choices": {"text": ["so", "no"], "label": ["A", "B"]},
        "answerKey": " A "}), "openbookqa", "The sun", "so|no", 0);
    one("openbookqa", TEXT({"question": {"stem": "The sun", "choices": [{"text": "so", "label": "A"}]},
        "answerKey": "A"}), "openbookqa", "The sun", "so", 0);
    one(NULL, TEXT({"passage": "It is.", "question": "is it", "answer": true}), "boolq",
        "It is.\nQuestion: is it?\nAnswer:", "no|yes", 1);
    one(NULL, TEXT({"passage": "It is.", "question": "is it", "label": 0}), "boolq",
        "It is.\nQuestion: is it?\nAnswer:", "no|yes", 0);
    one(NULL, TEXT({"question": "q?", "support": "  It is.", "distractor1": "a", "distractor2": "b",
        "distractor3": "c", "correct_answer": "d"}), "sciq", "It is.\nQuestion: q?\nAnswer:", "a|b|c|d", 3);
    one("mmlu", TEXT({"question": "q?", "subject": "x_y", "choices": ["a", "b"], "answer": 1}), "mmlu",
        "q?\nA. a\nB. b\nAnswer:", "A|B", 1);
    one("mmlu_cloze", TEXT({"question": "q?", "subject": "x", "choices": ["a", "b"], "answer": 1}),
        "mmlu_cloze", "Question: q?\nAnswer:", "a|b", 1);
    one(NULL, TEXT({"sentence_good": "He is.", "sentence_bad": "He are.", "UID": "agreement"}), "blimp", "",
        "He is.|He are.", 0);
    one(NULL, TEXT({"text": "it was a dark night"}), "lambada", "it was a dark", "night", 0);
    one(NULL, TEXT({"context": "c", "choices": ["a", "b"], "gold": 1}), "own", "c", "a|b", 1);
}

static void what_goes_with_a_question(void **state)
{
    (void)state;
    struct questions q = read_good(write_text("w.jsonl", TEXT({"sentence": "The cup and the jug: the _ is full .",
        "option1": "cup", "option2": "jug", "answer": "2"}) "\n"), NULL);
    assert_string_equal(q.question[0].choice[0].before, "The cup and the jug: the cup");
    assert_string_equal(q.question[0].choice[1].before, "The cup and the jug: the jug");
    assert_string_equal(q.question[0].choice[0].text, "is full .");
    assert_string_equal(q.question[0].choice[1].text, "is full .");
    assert_int_equal(q.question[0].gold, 1);
    questions_free(&q);

    q = read_good(write_text("m.jsonl", TEXT({"question": "q?", "subject": "high_school", "choices": ["a", "b"],
        "answer": 1})), "mmlu");
    assert_string_equal(q.question[0].opening,
                        "The following are multiple choice questions (with answers) about high school.\n\n");
    assert_string_equal(q.question[0].group, "high_school");
    assert_true(q.first_shots);
    questions_free(&q);

    q = read_good(write_text("o.jsonl",
        TEXT({"id": 7, "context": "c", "choices": ["a"], "gold": 0}) "\n\n"
        TEXT({"id": "x", "context": "", "choices": ["a", "b"], "gold": 0, "group": "g"}) "\n"
        TEXT({"context": "c", "choices": ["a", "b"], "gold": 0, "delimiter": "-"})), NULL);
    assert_int_equal(q.n, 3);
    assert_string_equal(q.question[0].id, "7");
    assert_string_equal(q.question[0].delimiter, " ");
    assert_string_equal(q.question[1].id, "x");
    assert_string_equal(q.question[1].group, "g");
    assert_string_equal(q.question[1].delimiter, "");
    assert_string_equal(q.question[2].id, "2");
    assert_string_equal(q.question[2].delimiter, "-");
    assert_int_equal(q.question[1].line, 3);
    assert_false(question_is_pair(&q.question[0]));
    assert_true(question_is_pair(&q.question[1]));
    assert_false(question_is_pair(&q.question[2]));
    questions_free(&q);
}

/* PIQA keeps them so. */
static void labels_may_lie_beside(void **state)
{
    (void)state;
    static const char line[] = TEXT({"goal": "g", "sol1": "a", "sol2": "b"}) "\n";
    char two[200];
    snprintf(two, sizeof two, "%s%s", line, line);
    const char *path = write_text("piqa.jsonl", two);
    bad(path, NULL, "piqa.jsonl:1: no field 'label', and beside the file no ");
    write_text("piqa-labels.lst", "1\n0\n");
    struct questions q = read_good(path, NULL);
    assert_int_equal(q.question[0].gold, 1);
    assert_int_equal(q.question[1].gold, 0);
    questions_free(&q);
    write_text("piqa-labels.lst", "1\n");
    bad(path, NULL, "piqa.jsonl:2: no label is left in ");
    write_text("piqa-labels.lst", "1\n2\n");
    bad(path, NULL, "piqa.jsonl:2: 'label' is 2: must be from 0 to 1");
}

static void mistakes_name_file_line_and_reason(void **state)
{
    (void)state;
    static const char good[] = TEXT({"context": "c", "choices": ["a", "b"], "gold": 1}) "\n";
    static const struct { const char *line, *words; } mistakes[] = {
        { TEXT({"context": "c", "choices": ["a"], "gold": 1), "bad.jsonl:2: column " },
        { "7", "bad.jsonl:2: must be an object" },
        { TEXT({"context": "c", "choices": ["a", "b"]}), "bad.jsonl:2: no field 'gold'; there is context, choices" },
        { TEXT({"contest": "c", "choices": ["a"], "gold": 0}),
          "bad.jsonl:2: no field 'context' (did you mean 'contest'?)" },
        { TEXT({"context": 1, "choices": ["a"], "gold": 0}), "'context' is a number: must be a string" },
        { TEXT({"context": "c", "choices": "a", "gold": 0}), "'choices' is a string: must be a list" },
        { TEXT({"context": "c", "choices": [], "gold": 0}), "'choices' is empty" },
        { TEXT({"context": "c", "choices": ["a", 2], "gold": 0}), "'choices': item 1 is a number" },
        { TEXT({"context": "c", "choices": ["a", ""], "gold": 0}), "bad.jsonl:2: choice 1 is empty" },
        { TEXT({"context": "c", "choices": ["a", "b"], "gold": 2}), "'gold' is 2: must be from 0 to 1" },
        { TEXT({"context": "c", "choices": ["a", "b"], "gold": -1}), "'gold' is -1: must be from 0 to 1" },
        { TEXT({"context": "c", "choices": ["a", "b"], "gold": "b"}), "'gold' is a string: must be a number" },
    };
    for (int i = 0; i < COUNT(mistakes); i++) {
        char two[400];
        snprintf(two, sizeof two, "%s%s\n", good, mistakes[i].line);
        bad(write_text("bad.jsonl", two), NULL, mistakes[i].words);
    }
    bad(in("nowhere.jsonl"), NULL, "nowhere.jsonl: ");
    bad(write_text("none.jsonl", "\n \n"), NULL, "there is no question in it");
    bad(write_text("bad.jsonl", good), "arq", "--task: no task 'arq' (did you mean 'arc'?)");
    bad(write_text("bad.jsonl", good), "arc", "bad.jsonl:1: no field 'question'");
    bad(write_text("bad.jsonl", TEXT({"a": 1})), NULL, "bad.jsonl:1: these fields are of no task that is known");
    bad(write_text("bad.jsonl", TEXT({"question": "q?", "choices": ["a", "b"], "answer": 1})), NULL,
        "the fields are those of mmlu and of mmlu_cloze: --task says which");
    bad(write_text("bad.jsonl", TEXT({"question": {"stem": "q", "choices": []}, "answerKey": "A"})), NULL,
        "the fields are those of arc and of openbookqa: --task says which");
    bad(write_text("bad.jsonl", TEXT({"question": "Why?", "choices": {"text": ["so"], "label": ["1"]},
        "answerKey": "D"})), NULL, "'answerKey' is 'D', which no choice is labelled");
    bad(write_text("bad.jsonl", TEXT({"sentence": "no gap", "option1": "a", "option2": "b", "answer": 1})), NULL,
        "'sentence' must have one '_'");
    bad(write_text("bad.jsonl", TEXT({"text": "word"})), NULL, "'text' must be several words");
}

/* ---- llm.c ---- */

/* Two examples, of contexts 5 6 and 7, and completions of 1 and 2 tokens. */
struct llmc { int32_t header[256]; uint16_t word[64]; int words; };

static void put(struct llmc *f, int word) { f->word[f->words++] = (uint16_t)word; }

static struct llmc llmc_file(void)
{
    struct llmc f = { .header = { 20240522, 1, 2, 34 } };
    for (int example = 0; example < 2; example++) {
        int begin = f.words;
        put(&f, 65535), put(&f, 0), put(&f, example), put(&f, 3 - example), put(&f, 4);
        put(&f, 2 - example);
        for (int t = example; t < 2; t++) put(&f, 5 + t + example);
        for (int c = 0; c < 4; c++) {
            put(&f, 1 + (c == 3 && example == 0));
            put(&f, 10 * c);
            if (c == 3 && example == 0) put(&f, 31);
        }
        f.word[begin + 1] = (uint16_t)(2 * (f.words - begin));
    }
    return f;
}

static const char *write_llmc(const struct llmc *f, int words)
{
    unsigned char bytes[sizeof *f];
    memcpy(bytes, f->header, sizeof f->header);
    memcpy(bytes + sizeof f->header, f->word, (size_t)words * 2);
    return write_bytes("hellaswag_val.bin", bytes, sizeof f->header + (size_t)words * 2);
}

static void llmc_files_are_items(void **state)
{
    (void)state;
    struct llmc f = llmc_file();
    struct questions q = read_good(write_llmc(&f, f.words), NULL);
    assert_string_equal(q.form, "llm.c");
    assert_int_equal(q.n, 2);
    const struct item *first = q.question[0].tokens, *second = q.question[1].tokens;
    assert_int_equal(q.question[0].n, 4);
    assert_int_equal(q.question[0].gold, 3);
    assert_int_equal(q.question[1].gold, 2);
    assert_int_equal(first->rows, 4);
    assert_int_equal(first->gold, 3);
    static const int last[] = { 5, 6, 30, 31 }, counts[] = { 0, 0, 1, 1 };
    assert_int_equal(first->row[3].n, 4);
    for (int t = 0; t < 4; t++) {
        assert_int_equal(first->row[3].id[t], last[t]);
        assert_int_equal(first->row[3].counts[t], counts[t]);
    }
    assert_int_equal(second->row[1].n, 2);
    assert_int_equal(second->row[1].id[0], 7);
    assert_int_equal(second->row[1].id[1], 10);
    questions_free(&q);
}

/* Each word of the second example by itself: 17 words of the first, then mark, bytes, number, label, completions. */
static void llmc_files_are_checked(void **state)
{
    (void)state;
    static const struct { int header, word, value; const char *words; } wrong[] = {
        { 1, -1, 2, "version 2: must be 1" },
        { 2, -1, 0, "0 examples" },
        { 2, -1, 1, "bytes follow the last example" },
        { 2, -1, 3, "example 2: byte 1088: -1 is no start mark" },
        { 3, -1, 36, "the longest example has 34 bytes, the header says 36" },
        { -1, 0, 7, "example 0: byte 1024: 7 is no start mark" },
        { -1, 1, 33, "example 0: byte 1024: 33 bytes" },
        { -1, 1, 36, "example 0: byte 1024: 1 words more than it says" },
        { -1, 2, 5, "its number is 5" },
        { -1, 3, 4, "label 4 of 4 completions" },
        { -1, 4, 3, "3 completions: must be 4" },
        { -1, 5, 0, "a context of 0 tokens" },
        { -1, 5, 60, "a context of 60 tokens" },
        { -1, 8, 0, "0 tokens, of " },
        { -1, 9, 65535, "a token is 65535" },
    };
    for (int i = 0; i < COUNT(wrong); i++) {
        struct llmc f = llmc_file();
        if (wrong[i].header >= 0) f.header[wrong[i].header] = wrong[i].value;
        if (wrong[i].word >= 0) f.word[wrong[i].word] = (uint16_t)wrong[i].value;
        bad(write_llmc(&f, f.words), NULL, wrong[i].words);
    }
    struct llmc f = llmc_file();
    bad(write_llmc(&f, f.words - 1), NULL, "example 1: byte 1058: 30 bytes, of 28 that are left");
    bad(write_bytes("short.bin", f.header, 100), NULL, "100 bytes: the header has 1024");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forms_are_told_by_their_fields),
        cmocka_unit_test(what_goes_with_a_question),
        cmocka_unit_test(labels_may_lie_beside),
        cmocka_unit_test(mistakes_name_file_line_and_reason),
        cmocka_unit_test(llmc_files_are_items),
        cmocka_unit_test(llmc_files_are_checked),
    };
    return RUN_DATA_TESTS(tests);
}
