/* Rows, prompts and documents put to a model, against its decoder, which computes token by token and knows nothing of
   windows. */
#include "data_fixture.h"
#include "tasks/exam.h"
#include "tasks/passages.h"
#include "tasks/prompt.h"
#include "train/decoder.h"
#include "train/model_file.h"
#include "train/train.h"

#include <math.h>

#define TEXT(...) #__VA_ARGS__
enum { SEQ = 48, VOCAB = 256 };

/* Wide weights, so that every token before counts; two sequences at a time. */
static const char *const config_text = TEXT({
    "model": {"layers": 2, "d_model": 24, "seq": 48, "vocab": 256,
              "init": {"module": "normal", "std": 0.3, "depth_scale": false},
              "attention": {"module": "gqa", "heads": 2, "kv_heads": 1, "head_dim": 12},
              "ffn": {"module": "moe", "experts": 4, "d_ff": 12, "router": {"top_k": 2}}},
    "train": {"steps": 4, "batch": 2}
});

static struct scorer *scorer;
static struct decoder *decoder;
static struct session *session;

static int make_model(void **state)
{
    struct err e;
    if (make_folder(state)) return -1;
    json_t *config = json_loads(config_text, 0, NULL);
    if (session_new(&session, config, 1, &e)) fail_msg("%s", e.text);
    state_fill(session->state, 3);
    struct model_source from = { config, session->leaves, session->state, session->model.adapter };
    if (model_file_write(in("model.safetensors"), &from, &(struct model_form){ "F32", false }, &e) ||
        score_open(&scorer, in("model.safetensors"), &e))
        fail_msg("%s", e.text);
    struct plan_how how = { session->backend, (enum precision)session->train.precision, RECOMPUTE_NONE };
    struct model_size size = { .batch = 1, .seq = 1, .context = SEQ };
    if (decoder_new(&decoder, &session->model, how, session->leaves, session->state, size, 1, &e))
        fail_msg("%s", e.text);
    json_decref(config);
    return 0;
}

static int free_model(void **state)
{
    score_close(scorer);
    decoder_free(decoder);
    session_free(session);
    return remove_folder(state);
}

/* ---- what the decoder says ---- */

static struct score decoded(const int32_t *id, int n, const unsigned char *counts)
{
    real logits[VOCAB];
    struct score s = { .greedy = true };
    for (int t = 0; t + 1 < n; t++) {
        decoder_feed(decoder, t, &id[t], logits);
        if (!counts[t + 1]) continue;
        double sum = 0;
        int best = 0;
        for (int v = 0; v < VOCAB; v++) {
            sum += exp((double)logits[v] - (double)logits[id[t + 1]]);
            if (logits[v] > logits[best]) best = v;
        }
        s.ll -= log(sum);
        s.greedy &= best == id[t + 1];
        s.tokens++;
    }
    return s;
}

/* Of text of which the last `counted` bytes count. */
static struct score decoded_text(const char *text, size_t counted)
{
    int32_t id[400];
    unsigned char counts[400];
    size_t n = strlen(text);
    for (size_t i = 0; i < n; i++) {
        id[i] = (unsigned char)text[i];
        counts[i] = i + counted >= n;
    }
    return decoded(id, (int)n, counts);
}

static void near(double got, double want)
{
    if (!(fabs(got - want) <= 1e-6 * fabs(want))) fail_msg("%.9g, not %.9g: off by %.3g", got, want, got / want - 1);
}

/* ---- rows ---- */

static struct item random_rows(int rows)
{
    struct item it = { 0 };
    for (int k = 0; k < rows; k++) {
        struct key key = { 4, PURPOSE_TEST, 0, (uint64_t)k };
        int n = k == 3 ? SEQ + 1 : 2 + (int)key_below(key, 0, SEQ);
        item_begin(&it);
        for (int t = 0; t < n; t++)
            item_put(&it, (int32_t)key_below(key, (uint64_t)t + 1, VOCAB), t > 0 && t % 3 != 1);
    }
    return it;
}

static void rows_are_as_the_decoder_says(void **state)
{
    (void)state;
    enum { ROWS = 23 };
    struct item it = random_rows(ROWS);
    struct score score[ROWS], again;
    for (int k = 0; k < ROWS; k++) score_put(scorer, &it.row[k], &score[k]);
    score_flush(scorer);
    for (int k = 0; k < ROWS; k++) {
        struct score want = decoded(it.row[k].id, it.row[k].n, it.row[k].counts);
        assert_int_equal(score[k].tokens, want.tokens);
        if (want.tokens) near(score[k].ll, want.ll);
        score_put(scorer, &it.row[k], &again);
        score_flush(scorer);
        if (want.tokens) near(again.ll, score[k].ll);       /* alone in a window, as beside others */
    }
    item_free(&it);
}

static int32_t likeliest(const real *logits)
{
    int32_t best = 0;
    for (int32_t v = 1; v < VOCAB; v++) if (logits[v] > logits[best]) best = v;
    return best;
}

/* The likeliest token each time, and one that is not. */
static void greedy_is_each_token(void **state)
{
    (void)state;
    real logits[VOCAB];
    struct score score[2];
    struct item it = { 0 };
    for (int wrong = 0; wrong < 2; wrong++) {
        int32_t id = 65;
        item_begin(&it);
        for (int t = 0; t < 12; t++) {
            item_put(&it, id, t > 4);
            decoder_feed(decoder, t, &id, logits);
            id = likeliest(logits);
            if (wrong && t == 8) id = (id + 1) % VOCAB;
        }
        score_put(scorer, &it.row[wrong], &score[wrong]);
    }
    score_flush(scorer);
    assert_true(score[0].greedy);
    assert_false(score[1].greedy);
    assert_int_equal(score[0].tokens, 7);
    item_free(&it);
}

/* ---- prompts ---- */

static struct questions questions_of(const char *lines)
{
    struct questions q;
    struct err e;
    if (questions_read(&q, write_text("q.jsonl", lines), NULL, &e)) fail_msg("%s", e.text);
    return q;
}

/* Bytes of a row, with '|' where counting begins. */
static void row_is(const struct item_row *r, const char *want)
{
    char got[1000];
    int n = 0;
    for (int t = 0; t < r->n; t++) {
        if (r->counts[t] && (t == 0 || !r->counts[t - 1])) got[n++] = '|';
        got[n++] = (char)r->id[t];
    }
    got[n] = 0;
    assert_string_equal(got, want);
}

static void prompt_of(struct prompt *p, const struct prompts *how, int i)
{
    struct err e;
    if (prompt_make(how, i, p, &e)) fail_msg("%s", e.text);
}

static void prompts_are_context_and_choice(void **state)
{
    (void)state;
    struct questions q = questions_of(
        TEXT({"context": "It is", "choices": ["so", "é"], "gold": 1}) "\n"
        TEXT({"context": "It is  ", "choices": ["so", "no"], "gold": 1}) "\n"
        TEXT({"context": "", "choices": ["So.", "No."], "gold": 0}) "\n"
        TEXT({"context": "It is", "choices": ["so"], "gold": 0}));
    struct prompts how = { &q, &q, 0, 100 };
    struct prompt p = { .cut = false };
    prompt_of(&p, &how, 0);
    assert_int_equal(p.item.rows, 2);
    assert_int_equal(p.item.gold, 1);
    row_is(&p.item.row[0], "It is| so");
    row_is(&p.item.row[1], "It is| é");
    row_is(&p.alone.row[1], "\n| é");
    assert_int_equal(p.item.row[1].bytes, 3);
    assert_int_equal(p.item.row[1].characters, 2);
    prompt_of(&p, &how, 1);
    row_is(&p.item.row[0], "It is|   so");
    row_is(&p.alone.row[0], "\n|   so");
    prompt_of(&p, &how, 2);
    row_is(&p.item.row[0], "\n|So.");
    assert_int_equal(p.alone.rows, 0);
    prompt_of(&p, &how, 3);
    assert_int_equal(p.item.rows, 1);
    assert_int_equal(p.alone.rows, 0);
    prompt_free(&p);
    questions_free(&q);
}

static void long_prompts_lose_their_beginning(void **state)
{
    (void)state;
    struct questions q = questions_of(TEXT({"context": "abcdefgh", "choices": ["so", "1234567"], "gold": 1}));
    struct prompts how = { &q, &q, 0, 10 };
    struct prompt p = { .cut = false };
    struct err e;
    prompt_of(&p, &how, 0);
    row_is(&p.item.row[0], "bcdefgh| so");
    row_is(&p.item.row[1], "gh| 1234567");
    assert_true(p.cut);
    how.longest = 9;
    prompt_of(&p, &how, 0);
    row_is(&p.item.row[1], "h| 1234567");
    how.longest = 8;
    assert_int_equal(prompt_make(&how, 0, &p, &e), -1);
    assert_non_null(strstr(e.text, "q.jsonl:1: choice 1 has 8 tokens, the model's sequence 7"));
    how.longest = 15;
    prompt_of(&p, &how, 0);
    assert_true(p.cut);
    how.longest = 16;
    prompt_of(&p, &how, 0);
    assert_false(p.cut);
    prompt_free(&p);
    questions_free(&q);
}

/* Draws as the rule says: one more than examples, without the question itself. */
static void examples_are_drawn(void **state)
{
    (void)state;
    enum { N = 6, SHOTS = 3 };
    char lines[1000] = "";
    for (int i = 0; i < N; i++)
        sprintf(lines + strlen(lines), TEXT({"context": "c%d", "choices": ["a%d", "b%d"], "gold": %d}) "\n", i, i,
                i, i % 2);
    struct questions q = questions_of(lines);
    struct prompts how = { &q, &q, SHOTS, 400 };
    struct prompt p = { .cut = false };
    struct err e;
    for (int i = 0; i < N; i++) {
        struct key key = { 1, PURPOSE_EVAL, hash_name("eval.fewshot.own"), (uint64_t)i };
        int left[N] = { 0, 1, 2, 3, 4, 5 }, taken = 0;
        char want[400] = "", without[400] = "";
        for (int k = 0; k <= SHOTS; k++) {
            int j = k + (int)key_below(key, (uint64_t)k, (uint64_t)(N - k)), drawn = left[j];
            left[j] = left[k];
            left[k] = drawn;
            if (drawn == i || taken == SHOTS) continue;
            sprintf(want + strlen(want), "c%d %c%d\n\n", drawn, "ab"[drawn % 2], drawn);
            if (taken++) sprintf(without + strlen(without), "c%d %c%d\n\n", drawn, "ab"[drawn % 2], drawn);
        }
        sprintf(want + strlen(want), "c%d| a%d", i, i);
        sprintf(without + strlen(without), "c%d| a%d", i, i);
        how.longest = (int)strlen(want) - 1;
        prompt_of(&p, &how, i);
        row_is(&p.item.row[0], want);
        assert_int_equal(p.shots, SHOTS);
        how.longest--;                                      /* the first of them goes, and nothing is cut */
        prompt_of(&p, &how, i);
        row_is(&p.item.row[0], without);
        assert_int_equal(p.shots, SHOTS - 1);
        assert_false(p.cut);
    }
    assert_int_equal(prompts_check(&how, &e), 0);
    how.shots = N;
    assert_int_equal(prompts_check(&how, &e), -1);
    assert_non_null(strstr(e.text, "q.jsonl: has 6 questions: 6 examples are more than there are"));
    prompt_free(&p);
    questions_free(&q);
}

/* MMLU's are the first of their subject. */
static void examples_are_the_first(void **state)
{
    (void)state;
    struct questions q, pool;
    struct err e;
    char lines[1000] = "";
    for (int i = 0; i < 6; i++)
        sprintf(lines + strlen(lines),
                TEXT({"question": "q%d", "subject": "%s", "choices": ["x", "y"], "answer": 1}) "\n", i,
                i % 2 ? "odd" : "even");
    if (questions_read(&pool, write_text("pool.jsonl", lines), "mmlu_cloze", &e) ||
        questions_read(&q, in("pool.jsonl"), "mmlu_cloze", &e)) fail_msg("%s", e.text);
    struct prompts how = { &q, &pool, 2, 400 };
    struct prompt p = { .cut = false };
    prompt_of(&p, &how, 1);
    row_is(&p.item.row[0], "Question: q1\nAnswer: y\n\nQuestion: q3\nAnswer: y\n\nQuestion: q1\nAnswer:| x");
    how.pool = &q;
    prompt_of(&p, &how, 1);
    row_is(&p.item.row[0], "Question: q3\nAnswer: y\n\nQuestion: q5\nAnswer: y\n\nQuestion: q1\nAnswer:| x");
    prompt_free(&p);
    questions_free(&q);
    questions_free(&pool);
}

/* ---- together ---- */

static void exams_are_as_the_decoder_says(void **state)
{
    (void)state;
    struct questions q = questions_of(
        TEXT({"context": "It is", "choices": ["so", "such", "é"], "gold": 1}) "\n"
        TEXT({"context": "", "choices": ["So it is.", "No, it is."], "gold": 0}) "\n"
        TEXT({"context": "It goes beyond what is said, to", "choices": ["silence"], "gold": 0}));
    struct exam x;
    struct err e;
    if (exam_take(&x, &q, &(struct exam_how){ 0 }, scorer, &e)) fail_msg("%s", e.text);
    assert_int_equal(x.n, 3);
    near(x.of[0].answer[0].score.ll, decoded_text("It is so", 3).ll);
    near(x.of[0].answer[1].score.ll, decoded_text("It is such", 5).ll);
    near(x.of[0].answer[2].score.ll, decoded_text("It is é", 3).ll);
    near(x.of[0].answer[1].alone.ll, decoded_text("\n such", 5).ll);
    near(x.of[1].answer[1].score.ll, decoded_text("\nNo, it is.", 10).ll);
    near(x.of[2].answer[0].score.ll, decoded_text("It goes beyond what is said, to silence", 8).ll);
    assert_int_equal(x.of[0].answer[2].bytes, 2);
    assert_int_equal(x.of[0].answer[2].characters, 1);
    assert_int_equal(x.of[0].answer[2].counted, 3);
    exam_free(&x);
    if (exam_take(&x, &q, &(struct exam_how){ .limit = 1, .longest = 6 }, scorer, &e)) fail_msg("%s", e.text);
    assert_int_equal(x.n, 1);
    assert_int_equal(x.cut, 1);
    near(x.of[0].answer[1].score.ll, decoded_text("s such", 5).ll);
    exam_free(&x);
    questions_free(&q);
}

/* ---- documents ---- */

/* Of a document that is longer than a window, the windows by hand: 48 bytes, then 20 at a time. */
static double document_nats(const char *text, int stride)
{
    char whole[400], part[SEQ + 2];
    int n = 1 + (int)strlen(text), first = 1, end = n < SEQ + 1 ? n : SEQ + 1;
    double nats = 0;
    snprintf(whole, sizeof whole, "\n%s", text);
    while (first < n) {
        int from = end > SEQ + 1 ? end - SEQ - 1 : 0;
        snprintf(part, sizeof part, "%.*s", end - from, whole + from);
        nats -= decoded_text(part, (size_t)(end - first)).ll;
        first = end;
        end = end + stride < n ? end + stride : n;
    }
    return nats;
}

static void documents_are_whole(void **state)
{
    (void)state;
    static const char *const document[] = { "trained on", "A short one.",
        "A longer one, of which no window can see all "
        "that there is: what is behind goes, and what comes is asked with as much as is left of it.", "x" };
    struct corpus *c = open_good(make_tokens("held.tok", document, 1, 3));
    static const int strides[] = { 20, SEQ, 1, 0 };
    struct passages p;
    struct err e;
    for (int k = 0; k < COUNT(strides); k++) {
        struct passages_how how = { .stride = strides[k] };
        if (passages_read(&p, c, &how, scorer, &e)) fail_msg("%s", e.text);
        assert_int_equal(p.n, 3);
        for (int d = 0; d < 3; d++) {
            assert_int_equal((int)p.bytes[d], strlen(document[d + 1]));
            near(p.nats[d], document_nats(document[d + 1], strides[k] ? strides[k] : SEQ / 2));
        }
        passages_free(&p);
    }
    if (passages_read(&p, c, &(struct passages_how){ .tokens = 20 }, scorer, &e)) fail_msg("%s", e.text);
    assert_int_equal(p.n, 2);
    assert_int_equal((int)p.bytes[1], 21 - 12);             /* 20 targets behind the first byte */
    passages_free(&p);
    corpus_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_as_the_decoder_says),
        cmocka_unit_test(greedy_is_each_token),
        cmocka_unit_test(prompts_are_context_and_choice),
        cmocka_unit_test(long_prompts_lose_their_beginning),
        cmocka_unit_test(examples_are_drawn),
        cmocka_unit_test(examples_are_the_first),
        cmocka_unit_test(exams_are_as_the_decoder_says),
        cmocka_unit_test(documents_are_whole),
    };
    return cmocka_run_group_tests(tests, make_model, free_model);
}
