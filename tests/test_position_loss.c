/* Losses by where a token stands in its document, in sequences as long as those of training and longer. */
#include "tiny.h"
#include "graph/ops.h"
#include "train/train.h"

enum { BATCH = 2, TRAINED = 6, LONG = 18 };

/* Of the one of that name, n values. */
static void read_metric(struct tiny *t, const char *name, int64_t n, double *to)
{
    for (int i = 0; i < t->graph->n_probes; i++) {
        const struct probe *p = &t->graph->probe[i];
        if (strcmp(p->name, name) != 0) continue;
        assert_int_equal(probe_count(p), n);
        plan_gather(t->plan);
        plan_read_probe(t->plan, p, to);
        return;
    }
    fail_msg("no metric '%s'", name);
}

static bool has_metric(const struct tiny *t, const char *name)
{
    for (int i = 0; i < t->graph->n_probes; i++) if (!strcmp(t->graph->probe[i].name, name)) return true;
    return false;
}

/* Documents of several lengths, one cut off by its sequence's end; the last targets of documents do not count. */
static struct tiny started(int seq, enum mode mode)
{
    struct tiny t = tiny_new(NULL, NULL, mode, BATCH, seq);
    tiny_start(&t, 1);
    for (int i = 0; i < t.tokens; i++) {
        int s = i % seq, begins = i < seq ? (s < 5 ? 0 : 5) : (s < 2 ? 0 : s < 3 ? 2 : 3);
        t.start[i] = begins;
        t.weight[i] = s + 1 < seq && i + 1 < t.tokens && (i < seq ? s != 4 : s != 1 && s != 2);
    }
    tiny_put(&t);
    tiny_forward(&t);
    return t;
}

static double *losses(struct tiny *t)
{
    int i = 0;
    while (t->graph->node[i]->op != &op_cross_entropy) i++;
    return tiny_read(t, t->graph->node[i]);
}

/* The mean over tokens at positions from..to-1; NaN where none is. */
static double mean_between(const struct tiny *t, const double *loss, int from, int to)
{
    double sum = 0, n = 0;
    for (int i = 0; i < t->tokens; i++) {
        int p = i % t->seq - t->start[i];
        if (p < from || p >= to) continue;
        sum += (double)t->weight[i] * loss[i];
        n += (double)t->weight[i];
    }
    return sum / n;
}

static void expect(double got, double want)
{
    if (!(isnan(got) && isnan(want)) && !(fabs(got - want) < 1e-5)) fail_msg("%.9g, and not %.9g", got, want);
}

static void losses_are_told_by_position(void **state)
{
    (void)state;
    for (int seq = TRAINED; seq <= LONG; seq += TRAINED) {
        struct tiny t = started(seq, MODE_EVAL);
        double *loss = losses(&t), by_position[LONG], part, all;
        read_metric(&t, "position_loss", seq, by_position);
        for (int p = 0; p < seq; p++) expect(by_position[p], mean_between(&t, loss, p, p + 1));
        read_metric(&t, "loss", 1, &all);
        expect(all, mean_between(&t, loss, 0, seq));
        assert_true(has_metric(&t, "loss_beyond") == (seq > TRAINED));
        if (seq > TRAINED) {
            read_metric(&t, "loss_within", 1, &part);
            expect(part, mean_between(&t, loss, 0, TRAINED));
            read_metric(&t, "loss_beyond", 1, &part);
            expect(part, mean_between(&t, loss, TRAINED, seq));
        }
        free(loss);
        tiny_free(&t);
    }
}

/* No document reaches the last positions. */
static void what_is_not_there_has_no_loss(void **state)
{
    (void)state;
    struct tiny t = started(LONG, MODE_EVAL);
    double by_position[LONG];
    read_metric(&t, "position_loss", LONG, by_position);
    assert_true(isfinite(by_position[0]) && isnan(by_position[LONG - 1]));
    tiny_free(&t);
}

static void training_has_none(void **state)
{
    (void)state;
    struct tiny t = started(TRAINED, MODE_TRAIN);
    assert_false(has_metric(&t, "position_loss"));
    tiny_free(&t);
}

/* Pieces are of equal length: the largest number of them up to 16 that divides a training sequence. */
static void long_sequences_are_told_in_pieces(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"seq": 36}), NULL, MODE_EVAL, 1, 72);
    tiny_start(&t, 1);
    tiny_put(&t);
    tiny_forward(&t);
    double *loss = losses(&t), by_piece[24];
    read_metric(&t, "position_loss", 24, by_piece);
    for (int i = 0; i < 24; i++) expect(by_piece[i], mean_between(&t, loss, 3 * i, 3 * i + 3));
    free(loss);
    tiny_free(&t);
}

/* About as many tokens at once as in training, at least one sequence. */
static void evaluations_have_a_size_of_their_own(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"seq": 64}), NULL, MODE_EVAL, 1, 2);
    struct model_conf model = t.model;
    struct train_conf train = t.train;
    struct model_size size = model_eval_size(&model, &train, 8);
    assert_true(size.batch == 8 && size.seq == 64 && !*size.of);
    train.eval_seq = 256;
    size = model_eval_size(&model, &train, 8);
    assert_true(size.batch == 2 && size.seq == 256 && *size.of);
    size = model_eval_size(&model, &train, 1);
    assert_true(size.batch == 1 && size.seq == 256);
    struct problems problems = { 0 };
    train.eval_seq = 96;
    conf_agree(&model, &train, &problems);
    assert_int_equal(problems.n, 1);
    assert_string_equal(problems.problem[0].text, "96: must be a multiple of the model's seq of 64");
    problems_free(&problems);
    tiny_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(losses_are_told_by_position), cmocka_unit_test(what_is_not_there_has_no_loss),
        cmocka_unit_test(training_has_none), cmocka_unit_test(long_sequences_are_told_in_pieces),
        cmocka_unit_test(evaluations_have_a_size_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
