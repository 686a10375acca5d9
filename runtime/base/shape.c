#include "shape.h"

#include <stdio.h>

int64_t shape_count(struct shape s)
{
    int64_t n = 1;
    for (int i = 0; i < s.rank; i++) n *= s.dim[i];
    return n;
}

int64_t shape_last(struct shape s) { return s.rank ? s.dim[s.rank - 1] : 1; }

int64_t shape_rows(struct shape s)
{
    int64_t last = shape_last(s);
    return last ? shape_count(s) / last : 0;
}

struct stack shape_stack(struct shape s)
{
    struct stack k = { 1, s.rank > 1 ? s.dim[s.rank - 2] : 1, s.dim[s.rank - 1] };
    k.matrices = shape_count(s) / (k.rows * k.columns);
    return k;
}

bool shape_equal(struct shape a, struct shape b)
{
    if (a.rank != b.rank) return false;
    for (int i = 0; i < a.rank; i++) if (a.dim[i] != b.dim[i]) return false;
    return true;
}

const char *shape_text(struct shape s, char out[64])
{
    int n = snprintf(out, 64, "[");
    for (int i = 0; i < s.rank; i++)
        n += snprintf(out + n, (size_t)(64 - n), "%s%lld", i ? "," : "", (long long)s.dim[i]);
    snprintf(out + n, (size_t)(64 - n), "]");
    return out;
}
