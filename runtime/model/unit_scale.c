/* What gates that sum to 1 are multiplied with so that a sum of unlike experts keeps the size of one: the mean over
   random logits of 1 / sqrt(sum of gate^2). Liu 2025 (Moonlight). */
#include "build.h"

enum { SAMPLES = 100000 };

/* What a normal number exceeds with a probability. Abramowitz and Stegun 26.2.23: good to 4.5e-4. */
static double quantile(double tail)
{
    double t = sqrt(-2 * log(tail < 0.5 ? tail : 1 - tail));
    double z = t - (2.515517 + t * (0.802853 + t * 0.010328)) / (1 + t * (1.432788 + t * (0.189269 + t * 0.001308)));
    return tail < 0.5 ? z : -z;
}

/* The largest of `experts` random logits, one after the other: of n uniform numbers the largest is V^(1/n). */
static double sample(struct key key, int experts, int k, double (*score)(double z))
{
    double below = 0, sum = 0, squares = 0;                 /* logarithm of the last number */
    for (int i = 0; i < k; i++) {
        below += log(key_uniform(key, (uint64_t)i)) / (experts - i);
        double s = score(quantile(-expm1(below)));
        sum += s;
        squares += s * s;
    }
    return sum > 0 ? sum / sqrt(squares) : 1;
}

double build_unit_scale(int experts, int k, double (*score)(double z))
{
    static _Thread_local struct { int experts, k; double (*score)(double z), scale; } last;    /* layers are alike */
    if (last.experts == experts && last.k == k && last.score == score) return last.scale;
    double sum = 0;
    for (uint64_t i = 0; i < SAMPLES; i++) sum += sample((struct key){ 1, PURPOSE_INIT, 0, i }, experts, k, score);
    last.experts = experts;
    last.k = k;
    last.score = score;
    return last.scale = round(1000 * sum / SAMPLES) / 1000; /* more places are noise, and the library's logarithm */
}
