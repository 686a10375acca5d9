/* What figures of choices have in common. */
#include "figure_views.h"

int figure_views(struct canvas *canvas, const struct runs *all, const struct plot_options *o, const char *of,
                 int (*paint)(struct canvas *canvas, const struct run *r, const struct views *v, struct err *e),
                 struct err *e)
{
    struct run *r = runs_choose(all, o->variant, o->replicate, e);
    struct views v;
    if (!r || views_read(r, &(struct views_options){ .tokens = VIEWS_TOKENS, .against = -1, .data = o->data }, &v, e))
        return -1;
    figure_title(canvas, "%s: %s %s, step %lld", all->study ? all->study->name : "run", of, r->name,
                 (long long)v.last.step);
    int bad = paint(canvas, r, &v, e);
    views_free(&v);
    return bad;
}
