/* Decisions: the right choice has the largest value. Of equal ones the first is taken; a minimal pair is half right. */
#include "judge.h"

#include <math.h>

static int count(const struct answered *a) { return a->question->n; }
static const struct answer *right_of(const struct answered *a) { return &a->answer[a->question->gold]; }
static bool chooses(const struct answered *a) { return count(a) > 1; }
static bool has_context(const struct answered *a) { return chooses(a) && right_of(a)->alone.tokens > 0; }
static bool has_words(const struct answered *a) { return !a->question->tokens; }

typedef double value(const struct answer *a);
static double judge(const struct answered *a, value *of)
{
    int gold = a->question->gold;
    double right = of(&a->answer[gold]);
    bool pair = question_is_pair(a->question), ties = false;
    for (int i = 0; i < count(a); i++) {
        double other = of(&a->answer[i]);
        if (i == gold) continue;
        if (other > right || (other == right && i < gold && !pair)) return 0;
        ties |= other == right;
    }
    return pair && ties ? 0.5 : 1;
}

/* ---- values of a choice ---- */

static double total(const struct answer *a) { return a->score.ll; }
static double by_character(const struct answer *a) { return a->score.ll / a->characters; }
static double by_byte(const struct answer *a) { return a->score.ll / a->bytes; }
static double by_token(const struct answer *a) { return a->score.ll / a->score.tokens; }
static double gained(const struct answer *a) { return a->score.ll - a->alone.ll; }
static double alone(const struct answer *a) { return a->alone.ll; }
static double longest(const struct answer *a) { return a->bytes; }
static double shortest(const struct answer *a) { return -a->bytes; }

/* ---- measures ---- */

static double acc(const struct answered *a)
{
    return chooses(a) ? judge(a, total) : right_of(a)->score.greedy;
}

static bool has_lengths(const struct answered *a)
{
    return chooses(a) && has_words(a) && !question_is_pair(a->question);
}

static double acc_norm(const struct answered *a) { return has_lengths(a) ? judge(a, by_character) : NAN; }
static double acc_bytes(const struct answered *a) { return has_lengths(a) ? judge(a, by_byte) : NAN; }
static double acc_token(const struct answered *a)
{
    return chooses(a) && !question_is_pair(a->question) ? judge(a, by_token) : NAN;
}
static double acc_pmi(const struct answered *a) { return has_context(a) ? judge(a, gained) : NAN; }

static double bpb_gold(const struct answered *a)
{
    const struct answer *gold = right_of(a);
    return has_words(a) ? -gold->score.ll / (gold->counted * log(2)) : NAN;
}

/* Softmax of the values, of the right choice; in logarithm. */
static double log_share(const struct answered *a, value *of, int choice)
{
    double most = -INFINITY, sum = 0;
    for (int i = 0; i < count(a); i++) most = fmax(most, of(&a->answer[i]));
    for (int i = 0; i < count(a); i++) sum += exp(of(&a->answer[i]) - most);
    return of(&a->answer[choice]) - most - log(sum);
}

static double log_p_gold(const struct answered *a)
{
    return chooses(a) && has_words(a) ? log_share(a, by_byte, a->question->gold) : NAN;
}

static double p_gold(const struct answered *a) { return exp(log_p_gold(a)); }

static double margin(const struct answered *a)
{
    double other = -INFINITY;
    if (!chooses(a) || !has_words(a)) return NAN;
    for (int i = 0; i < count(a); i++) if (i != a->question->gold) other = fmax(other, by_byte(&a->answer[i]));
    return by_byte(right_of(a)) - other;
}

static double brier(const struct answered *a)
{
    double sum = 0;
    if (!chooses(a)) return NAN;
    for (int i = 0; i < count(a); i++) sum += pow(exp(log_share(a, total, i)) - (i == a->question->gold), 2);
    return sum;
}

static double ll(const struct answered *a) { return chooses(a) ? NAN : right_of(a)->score.ll; }

const struct measure judge_measures[] = {
    { "acc", "", "the likeliest choice; of one choice alone: each of its tokens is the likeliest", BETTER_HIGHER, true,
      acc },
    { "acc_norm", "", "log-likelihood by character of the choice", BETTER_HIGHER, true, acc_norm },
    { "acc_bytes", "", "by byte of the choice", BETTER_HIGHER, true, acc_bytes },
    { "acc_token", "", "by token that counts", BETTER_HIGHER, true, acc_token },
    { "acc_pmi", "", "less that of the choice alone", BETTER_HIGHER, true, acc_pmi },
    { "bpb_gold", "bit/byte", "bits by byte of the right choice and its delimiter", BETTER_LOWER, false, bpb_gold },
    { "p_gold", "", "softmax over the choices' log-likelihoods by byte, of the right one", BETTER_HIGHER, false,
      p_gold },
    { "log_p_gold", "nat", "its logarithm", BETTER_HIGHER, false, log_p_gold },
    { "margin", "nat/byte", "log-likelihood by byte of the right choice less the largest other", BETTER_HIGHER, false,
      margin },
    { "brier", "", "squares of softmax of the log-likelihoods less 1 of the right choice and 0 of others", BETTER_LOWER,
      false, brier },
    { "ll", "nat", "log-likelihood of the one choice; perplexity is e to its negative", BETTER_HIGHER, false, ll },
};
int judge_measure_count(void) { return COUNT(judge_measures); }

static double chance(const struct answered *a) { return chooses(a) ? 1.0 / count(a) : NAN; }
static double by_longest(const struct answered *a) { return has_lengths(a) ? judge(a, longest) : NAN; }
static double by_shortest(const struct answered *a) { return has_lengths(a) ? judge(a, shortest) : NAN; }
static double by_itself(const struct answered *a) { return has_context(a) ? judge(a, alone) : NAN; }

const struct measure judge_baselines[] = {
    { "chance", "", "1 / choices", BETTER_NONE, true, chance },
    { "longest", "", "always the longest choice", BETTER_NONE, true, by_longest },
    { "shortest", "", "always the shortest", BETTER_NONE, true, by_shortest },
    { "alone", "", "the choice that is likeliest without a context", BETTER_NONE, true, by_itself },
};
int judge_baseline_count(void) { return COUNT(judge_baselines); }
