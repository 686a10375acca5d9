/* N_i: rows that chose expert i; N_ij: that chose i and j. A row has as many choices as its index has experts: K, or
   any number where experts choose. */
#include "choices.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { OCCURRENCES = 10 };                                  /* of an id that is measured */
static const double lowest = -20, highest = 2;              /* of the bins, log2 */

static int chosen_by(const struct route *r, int64_t row)
{
    int n = 0;
    for (int j = 0; j < r->k; j++) n += r->index[row * r->k + j] >= 0;
    return n;
}

static bool has(const struct route *r, int64_t row, int expert)
{
    for (int j = 0; j < r->k; j++) if (r->index[row * r->k + j] == expert) return true;
    return false;
}

static bool same_rows(const struct route *a, const struct route *b)
{
    return a->rows == b->rows && !memcmp(a->at, b->at, (size_t)a->rows * sizeof *a->at);
}

double choices_count(const struct route *r, double *count)
{
    double all = 0;
    for (int e = 0; e < r->experts; e++) count[e] = 0;
    for (int64_t i = 0; i < r->rows * r->k; i++) {
        if (r->index[i] < 0) continue;
        count[r->index[i]]++;
        all++;
    }
    return all;
}

double choices_shared(const struct route *r, const struct route *last, double *chance)
{
    double shared = 0, all = 0, expected = 0;
    *chance = NAN;
    if (!same_rows(r, last) || r->experts != last->experts) return NAN;
    for (int64_t row = 0; row < last->rows; row++) {
        double n = chosen_by(last, row);
        all += n;
        expected += n * chosen_by(r, row) / last->experts;
        for (int j = 0; j < last->k; j++) {
            int32_t expert = last->index[row * last->k + j];
            shared += expert >= 0 && has(r, row, expert);
        }
    }
    if (all > 0) *chance = expected / all;
    return all > 0 ? shared / all : NAN;
}

/* ---- together ---- */

/* N_ij of one row, and how many pairs it has, each counted both ways. */
static double count_pairs(const struct route *r, int64_t row, bool adjacent, double *to)
{
    const int32_t *index = r->index + row * r->k;
    double pairs = 0;
    for (int a = 0; a < r->k; a++)
        for (int b = a + 1; b < (adjacent && a + 2 < r->k ? a + 2 : r->k); b++) {
            if (index[a] < 0 || index[b] < 0) continue;
            to[index[a] * r->experts + index[b]]++;
            to[index[b] * r->experts + index[a]]++;
            pairs += 2;
        }
    return pairs;
}

double choices_together(const struct route *r, bool adjacent, double *to)
{
    int64_t experts = r->experts;
    double *count = xcalloc((size_t)experts + 1, sizeof *count), all = choices_count(r, count), pairs = 0;
    memset(to, 0, (size_t)(experts * experts) * sizeof *to);
    for (int64_t row = 0; row < r->rows; row++) pairs += count_pairs(r, row, adjacent, to);
    for (int64_t i = 0; i < experts * experts; i++) to[i] = count[i / experts] > 0 ? to[i] / count[i / experts] : NAN;
    free(count);
    return all > 0 && experts > 1 ? pairs / all / (double)(experts - 1) : NAN;
}

/* ---- margins ---- */

double choices_bin(int bin)
{
    return bin == 0 ? 0 : exp2(lowest + (highest - lowest) * (bin - 1) / MARGIN_BINS);
}

static int bin_of(double margin)
{
    if (!(margin >= choices_bin(1))) return 0;
    int bin = 1 + (int)((log2(margin) - lowest) / (highest - lowest) * MARGIN_BINS);
    return bin < MARGIN_BINS ? bin : MARGIN_BINS;
}

static int ascending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

struct margins choices_margins(const struct route *r, double reach)
{
    struct margins m = { .mean = NAN, .median = NAN, .rounded = NAN, .reached = NAN };
    float *sorted = xcalloc((size_t)r->rows + 1, sizeof *sorted);
    double sum = 0, rounded = 0, reached = 0;
    int64_t n = 0;
    for (int64_t row = 0; row < r->rows; row++) {
        double margin = (double)r->margin[row];
        if (isnan(margin)) continue;
        sorted[n++] = r->margin[row];
        sum += margin;
        rounded += margin < fabs((double)r->edge[row]) / 256;
        reached += margin < reach;
        m.bin[bin_of(margin)]++;
    }
    if (n) {
        qsort(sorted, (size_t)n, sizeof *sorted, ascending);
        m.known = true;
        m.mean = sum / (double)n;
        m.median = ((double)sorted[(n - 1) / 2] + (double)sorted[n / 2]) / 2;
        m.rounded = rounded / (double)n;
        if (!isnan(reach)) m.reached = reached / (double)n;
    }
    free(sorted);
    return m;
}

/* ---- gates ---- */

struct gates choices_gates(const struct route *r)
{
    struct gates g = { 0, 0, 0, -INFINITY };
    double n = 0;
    for (int64_t row = 0; row < r->rows; row++) {
        double sum = 0, most = -INFINITY, entropy = 0;
        for (int j = 0; j < r->k; j++) {
            if (r->index[row * r->k + j] < 0) continue;
            sum += (double)r->gate[row * r->k + j];
            most = fmax(most, (double)r->gate[row * r->k + j]);
        }
        if (most == -INFINITY) continue;
        for (int j = 0; j < r->k; j++) {
            double share = sum > 0 && r->index[row * r->k + j] >= 0 ? (double)r->gate[row * r->k + j] / sum : 0;
            if (share > 0) entropy -= share * log(share);
        }
        n++;
        g.largest += most;
        g.sum += sum;
        g.effective += exp(entropy);
        g.most = fmax(g.most, most);
    }
    if (n == 0) return (struct gates){ NAN, NAN, NAN, NAN };
    g.largest /= n;
    g.sum /= n;
    g.effective /= n;
    return g;
}

/* ---- what an id says ---- */

/* Rows that have an id and a first expert, sorted by id. */
struct pair { int32_t id, first; };

static int by_id(const void *a, const void *b)
{
    const struct pair *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

/* Of `n` rows sorted by id. count: [experts], for work. */
static double mean_most(const struct pair *p, int64_t n, int experts, double *count, int64_t *ids)
{
    double sum = 0;
    *ids = 0;
    for (int64_t from = 0, to; from < n; from = to) {
        double most = 0;
        memset(count, 0, (size_t)experts * sizeof *count);
        for (to = from; to < n && p[to].id == p[from].id; to++) most = fmax(most, ++count[p[to].first]);
        if (to - from < OCCURRENCES) continue;
        sum += most / (double)(to - from);
        ++*ids;
    }
    return *ids ? sum / (double)*ids : NAN;
}

static void shuffle(struct pair *p, int64_t n)
{
    struct key key = { 1, PURPOSE_EVAL, hash_name("choices.chance"), 0 };
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t j = (int64_t)key_below(key, (uint64_t)i, (uint64_t)i + 1);
        int32_t other = p[j].first;
        p[j].first = p[i].first;
        p[i].first = other;
    }
}

double choices_vocabulary(const struct route *r, const int32_t *id, double *chance, int64_t *ids)
{
    struct pair *p = xcalloc((size_t)r->rows + 1, sizeof *p);
    double *count = xcalloc((size_t)r->experts + 1, sizeof *count);
    int64_t n = 0;
    for (int64_t row = 0; row < r->rows; row++)
        if (id[r->at[row]] >= 0 && r->first[row] >= 0) p[n++] = (struct pair){ id[r->at[row]], r->first[row] };
    if (n) qsort(p, (size_t)n, sizeof *p, by_id);
    double said = mean_most(p, n, r->experts, count, ids);
    shuffle(p, n);
    *chance = mean_most(p, n, r->experts, count, ids);
    free(count);
    free(p);
    return said;
}

/* ---- what one label says of another ---- */

static double entropy_of(const double *count, int64_t n)
{
    double all = 0, entropy = 0;
    for (int64_t i = 0; i < n; i++) all += count[i];
    for (int64_t i = 0; i < n; i++) if (count[i] > 0) entropy -= count[i] / all * log(count[i] / all);
    return entropy;
}

static double some(const double *count, int64_t n)
{
    double seen = 0;
    for (int64_t i = 0; i < n; i++) seen += count[i] > 0;
    return seen;
}

/* Of labels below n and m; rows where one is negative do not count. NaN: there is no row. */
static double information(int64_t rows, const int32_t *a, int64_t n, const int32_t *b, int64_t m, double *chance)
{
    double *both = xcalloc((size_t)(n * m + n + m) + 1, sizeof *both), *one = both + n * m, *other = one + n,
           counted = 0;
    for (int64_t row = 0; row < rows; row++) {
        if (a[row] < 0 || b[row] < 0) continue;
        both[a[row] * m + b[row]]++;
        one[a[row]]++;
        other[b[row]]++;
        counted++;
    }
    *chance = counted > 0 ? (some(one, n) - 1) * (some(other, m) - 1) / (2 * counted) : NAN;
    double shared = entropy_of(one, n) + entropy_of(other, m) - entropy_of(both, n * m);
    free(both);
    return counted > 0 ? fmax(shared, 0) : NAN;
}

double choices_class(const struct route *r, const int32_t *id, const int *class, int classes, double *chance)
{
    int32_t *label = xcalloc((size_t)r->rows + 1, sizeof *label);
    for (int64_t row = 0; row < r->rows; row++) label[row] = class[id[r->at[row]]];
    double shared = information(r->rows, label, classes, r->first, r->experts, chance);
    free(label);
    return shared;
}

double choices_path(const struct route *r, const struct route *later, double *chance)
{
    *chance = NAN;
    if (!same_rows(r, later)) return NAN;
    return information(r->rows, r->first, r->experts, later->first, later->experts, chance);
}
