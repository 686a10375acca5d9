/* Runs one form over its operands and compares. */
#include "operand.h"
#include <numeric>

/* Three lists of equal length: all combinations of edges, or some of them, then random ones. */
struct operands { std::vector<u64> x, y, z; };

static struct operands operands_of(enum kind a, enum kind b, enum kind c)
{
    struct operands o;
    std::vector<u64> x = operand_edges(a), y = operand_edges(b), z = operand_edges(c);
    bool half = (a == F16 || a == BF16 || a == E4M3X2 || a == E5M2X2) && b == NONE;
    if (half) { x.clear(); for (u64 i = 0; i < 65536; i++) x.push_back(i); }
    size_t all = x.size() * y.size() * z.size(), step = half || all <= 20000 ? 1 : all / 4096;
    while (std::gcd(step, all) > 1) step++;             /* or some edges would never meet */
    for (size_t i = 0; i < all; i += step) {
        o.x.push_back(x[i % x.size()]);
        o.y.push_back(y[i / x.size() % y.size()]);
        o.z.push_back(z[i / x.size() / y.size()]);
    }
    for (int i = 0; i < 1000; i++) {
        o.x.push_back(operand_random(a));
        o.y.push_back(operand_random(b));
        o.z.push_back(operand_random(c));
    }
    return o;
}

void form_check(const struct form_row *row, int which, void (*launch)(int which, int n, u64 *d, const u64 *x, const u64 *y, const u64 *z))
{
    if (conform_listing) { conform_name(row->opcode); return; }
    if (conform_arch < row->needs) { conform_skip(row->opcode, row->needs); return; }
    struct operands o = operands_of(row->a, row->b, row->c);
    size_t n = o.x.size();
    std::vector<u64> got(n);
    u64 *x = device(o.x.data(), n), *y = device(o.y.data(), n), *z = device(o.z.data(), n), *d = device<u64>(NULL, n);
    launch(which, (int)n, d, x, y, z);
    host(got.data(), d, n);
    for (u64 *p : { x, y, z, d }) CUDA(cudaFree(p));
    char failure[200];
    long wrong = 0;
    for (size_t i = 0; i < n; i++) {
        u64 want = row->expect(o.x[i], o.y[i], o.z[i]);
        if (operand_same(row->d, got[i], want, row->ulps, row->absolute)) continue;
        if (wrong++ == 0)
            snprintf(failure, sizeof failure, "of %#llx, %#llx, %#llx: %#llx, not %#llx", (unsigned long long)o.x[i], (unsigned long long)o.y[i],
                     (unsigned long long)o.z[i], (unsigned long long)got[i], (unsigned long long)want);
    }
    conform_result(row->opcode, (long)n, wrong ? failure : NULL);
}
