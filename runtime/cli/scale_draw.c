/* The timeline of a step as SVG: of each pipeline position what its device does, and below it what its link carries.
   Colours are Okabe and Ito's, which the colour-blind tell apart. */
#include "scale.h"
#include "base/file.h"

#include <math.h>
#include <string.h>

enum { LEFT = 74, WIDTH = 1100, TOP = 92, ROW = 34, DEVICE = 20, LINK = 7, BOTTOM = 62 };
static const struct { const char *name, *color; } work[WORKS] = {
    [WORK_FORWARD] = { "forward", "#56B4E9" },
    [WORK_BACKWARD] = { "backward, or gradient of inputs", "#0072B2" },
    [WORK_WEIGHT] = { "gradient of weights", "#E69F00" },
    [WORK_UPDATE] = { "update", "#CC79A7" },
    [WORK_TALK] = { "communication", "#D55E00" },
};

static void write_text(FILE *to, double x, double y, const char *more, const char *text)
{
    fprintf(to, "<text x=\"%.1f\" y=\"%.1f\"%s>", x, y, more);
    for (; *text; text++)
        if (*text == '<') fputs("&lt;", to);
        else if (*text == '&') fputs("&amp;", to);
        else fputc(*text, to);
    fputs("</text>\n", to);
}

static void draw_segment(FILE *to, const struct segment *s, double y, double scale)
{
    double width = (s->to - s->from) * scale;
    fprintf(to, "<rect x=\"%.2f\" y=\"%.1f\" width=\"%.2f\" height=\"%d\" fill=\"%s\"%s/>\n", LEFT + s->from * scale, y,
            fmax(width, 0.05), s->work == WORK_TALK ? LINK : DEVICE, work[s->work].color,
            width > 2 ? " stroke=\"#ffffff\" stroke-width=\"0.6\"" : "");
}

/* What is narrower than a pixel is drawn with what follows it of its kind. */
static void draw_lane(FILE *to, const struct lane *lane, bool link, double y, double scale)
{
    struct segment open = { -1, -1, WORKS };
    for (int i = 0; i <= lane->n; i++) {
        const struct segment *s = i < lane->n ? &lane->segment[i] : NULL;
        if (s && (s->work == WORK_TALK) != link) continue;
        bool narrow = s && fmin(s->to - s->from, open.to - open.from) * scale < 1;
        if (narrow && s->work == open.work && (s->from - open.to) * scale < 0.15) { open.to = s->to; continue; }
        if (open.work != WORKS) draw_segment(to, &open, y, scale);
        if (s) open = *s;
    }
}

static double round_step(double most)
{
    double power = pow(10, floor(log10(most / 8))), digit = most / 8 / power;
    return power * (digit <= 1 ? 1 : digit <= 2 ? 2 : digit <= 5 ? 5 : 10);
}

static void draw_axis(FILE *to, double seconds, double y, double scale)
{
    bool s = seconds >= 2;
    double unit = s ? 1 : 1e3, step = round_step(seconds * unit);
    char text[32];
    for (int i = 0; i * step <= seconds * unit * (1 + 1e-9); i++) {
        double x = LEFT + i * step / unit * scale;
        fprintf(to, "<path d=\"M%.1f %dV%.1f\" stroke=\"#c8c8c8\" stroke-width=\"0.6\"/>\n", x, TOP - 4, y + 4);
        snprintf(text, sizeof text, "%.6g", i * step);
        write_text(to, x, y + 18, " text-anchor=\"middle\"", text);
    }
    write_text(to, LEFT + WIDTH / 2.0, y + 36, " text-anchor=\"middle\"", s ? "time (s)" : "time (ms)");
}

static void draw_head(FILE *to, const struct scale *s, const struct trial *t, int height)
{
    char layout[128], title[400], facts[400];
    fprintf(to, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" "
                "font-family=\"Helvetica, Arial, sans-serif\" font-size=\"12\" fill=\"#303030\">\n"
                "<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n", LEFT + WIDTH + 24, height,
            LEFT + WIDTH + 24, height);
    snprintf(title, sizeof title, "%s on %d devices of %s: %s", s->variant, s->devices, s->cluster->name,
             layout_text(&t->layout, layout));
    snprintf(facts, sizeof facts, "A model, not measured. A step of %.4g ms; idle %.1f %%, communication exposed "
                                  "%.1f %%, hidden %.1f %%", 1e3 * t->step.seconds, 100 * t->step.idle,
             100 * t->step.exposed / t->step.seconds, 100 * t->step.hidden / t->step.seconds);
    write_text(to, LEFT, 24, " font-size=\"15\" font-weight=\"bold\"", title);
    write_text(to, LEFT, 44, "", facts);
    double x = LEFT;
    for (int w = 0; w < WORKS; w++) {
        fprintf(to, "<rect x=\"%.1f\" y=\"58\" width=\"14\" height=\"12\" fill=\"%s\"/>\n", x, work[w].color);
        write_text(to, x + 20, 68, "", work[w].name);
        x += 48 + 6.4 * (double)strlen(work[w].name);
    }
}

int scale_draw(const struct scale *s, const struct trial *t, const char *path, struct err *e)
{
    struct file *file = file_begin(path, FILE_ANY, e);
    if (!file) return -1;
    FILE *to = file_stream(file);
    double end = TOP + (double)t->positions * ROW, scale = WIDTH / t->step.seconds;
    char name[32];
    draw_head(to, s, t, (int)end + BOTTOM);
    draw_axis(to, t->step.seconds, end, scale);
    for (int q = 0; q < t->positions; q++) {
        double y = TOP + (double)q * ROW;
        snprintf(name, sizeof name, t->positions > 1 ? "pp %d" : "a rank", q);
        write_text(to, LEFT - 10, y + 15, " text-anchor=\"end\"", name);
        draw_lane(to, &t->step.lane[q], false, y, scale);
        draw_lane(to, &t->step.lane[q], true, y + DEVICE + 1, scale);
    }
    fputs("</svg>\n", to);
    return file_commit(file, e);
}
