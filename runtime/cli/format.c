/* Numbers for people. The program never calls setlocale, so printf writes a point everywhere. */
#include "cli.h"
#include <math.h>
#include <string.h>

static char *scaled(double x, double base, const char *const *unit, int units, const char *gap, char *out)
{
    int i = 0;
    while (i < units - 1 && fabs(x) >= base * (1 - 0.5e-3)) { x /= base; i++; }
    int digits = i == 0 && x == floor(x) ? 0 : fabs(x) < 9.995 ? 2 : fabs(x) < 99.95 ? 1 : 0;
    snprintf(out, FORMAT_SIZE, "%.*f%s%s", digits, x, *unit[i] ? gap : "", unit[i]);
    return out;
}

char *format_count(double x, char out[FORMAT_SIZE])
{
    static const char *const unit[] = { "", "k", "M", "G", "T", "P", "E", "Z", "Y" };
    if (!isfinite(x)) return format_real(x, 0, out);
    return scaled(x, 1000, unit, COUNT(unit), "", out);
}

char *format_bytes(double x, char out[FORMAT_SIZE])
{
    static const char *const unit[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB" };
    if (!isfinite(x)) return format_real(x, 0, out);
    return scaled(x, 1024, unit, COUNT(unit), " ", out);
}

char *format_seconds(double x, char out[FORMAT_SIZE])
{
    if (!isfinite(x)) return format_real(x, 0, out);
    long long s = llround(x);
    if (x < 10) snprintf(out, FORMAT_SIZE, "%.1f s", x);
    else if (s < 60) snprintf(out, FORMAT_SIZE, "%lld s", s);
    else if (s < 3600) snprintf(out, FORMAT_SIZE, "%lld min %02lld s", s / 60, s % 60);
    else if (s < 86400) snprintf(out, FORMAT_SIZE, "%lld h %02lld min", s / 3600, s % 3600 / 60);
    else snprintf(out, FORMAT_SIZE, "%lld d %lld h", s / 86400, s % 86400 / 3600);
    return out;
}

char *format_figures(double x, int figures, char out[FORMAT_SIZE])
{
    enum { MOST = 20 };                                     /* digits after the point */
    if (!isfinite(x)) return format_real(x, 0, out);
    if (fabs(x) >= 1e15) return format_count(x, out);
    int digits = x == 0 ? 0 : figures - 1 - (int)floor(log10(fabs(x)));
    format_real(x, digits < 0 ? 0 : digits > MOST ? MOST : digits, out);
    for (char *end = out + strlen(out) - 1; strchr(out, '.') && (*end == '0' || *end == '.'); end--) {
        bool point = *end == '.';
        *end = 0;
        if (point) break;
    }
    return out;
}

char *format_real(double x, int digits, char out[FORMAT_SIZE])
{
    if (isnan(x)) snprintf(out, FORMAT_SIZE, "-");
    else if (isinf(x)) snprintf(out, FORMAT_SIZE, "%sinf", x < 0 ? "-" : "");
    else snprintf(out, FORMAT_SIZE, "%.*f", digits, x);
    /* What is rounded to 0 has no sign */
    if (out[0] == '-' && !out[1 + strspn(out + 1, "0.")] && out[1]) memmove(out, out + 1, strlen(out));
    return out;
}
