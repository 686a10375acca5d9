/* Losses that are no numbers, losses that stay far above their trailing window, experts that nobody asks, steps without
   a target. */
#include "stop.h"
#include "base/moments.h"
#include "model/registry.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SPIKE_STEPS = 10, MOST_RETURNS = 10 };

struct stop {
    int room; double sigma, dead;                           /* of the configuration */
    int most_empty, empty;                                  /* steps in a row without a target: so many end a run; so
                                                               far */
    int n, high; double *window;                            /* trailing losses; steps in a row above them */
    int64_t experts; int *idle;                             /* steps in a row without a token */
    int returns;                                            /* to a checkpoint */
};

struct stop *stop_new(const struct train_conf *conf, int64_t experts)
{
    struct stop *s = xcalloc(1, sizeof *s);
    *s = (struct stop){ .room = conf->stop_window, .sigma = conf->stop_sigma, .dead = conf->stop_dead,
                        .experts = experts };
    s->most_empty = conf->steps < s->room ? conf->steps : s->room;
    s->window = xcalloc((size_t)s->room, sizeof *s->window);
    s->idle = xcalloc((size_t)experts + 1, sizeof *s->idle);
    return s;
}

void stop_free(struct stop *s)
{
    if (!s) return;
    free(s->window);
    free(s->idle);
    free(s);
}

static bool spikes(struct stop *s, double loss)
{
    struct moments m = moments_of(s->window, s->n);
    bool high = s->sigma > 0 && s->n == s->room && loss > m.mean + s->sigma * m.deviation;
    s->high = high ? s->high + 1 : 0;
    if (high) return s->high >= SPIKE_STEPS;                /* what is far above does not enter the window */
    if (s->n == s->room) memmove(s->window, s->window + 1, (size_t)--s->n * sizeof *s->window);
    s->window[s->n++] = loss;
    return false;
}

static bool starves(struct stop *s, const double *tokens)
{
    int64_t there = 0, dead = 0;
    for (int64_t i = 0; i < s->experts; i++) {
        if (isnan(tokens[i])) continue;
        s->idle[i] = tokens[i] == 0 ? s->idle[i] + 1 : 0;
        there++;
        dead += s->idle[i] >= s->room;
    }
    return s->dead > 0 && there && (double)dead >= s->dead * (double)there;
}

void stop_leave_idle(const struct model_conf *model, double *tokens, int64_t n)
{
    int64_t layers = model_blocks(model), experts = n / layers, passes = model_passes(model);
    for (int64_t i = 0; i < layers; i++) {
        int idle = module_traits(model->ffn.pick[model_layer(model, (int)(i < passes ? i : passes - 1))]).idle;
        int64_t end = experts;
        while (end > 0 && isnan(tokens[i * experts + end - 1])) end--;
        while (idle-- > 0 && end > 0) tokens[i * experts + --end] = NAN;
    }
}

const char *stop_look(struct stop *s, double loss, double grad_norm, double targets, const double *tokens)
{
    s->empty = targets == 0 ? s->empty + 1 : 0;
    if (!isfinite(loss) && targets != 0) return "the loss is not finite";
    if (!isfinite(grad_norm)) return "the gradient norm is not finite";
    if (targets == 0)
        return s->empty < s->most_empty ? NULL : "stop_window: no target counted for a window of steps, or in the "
                                                 "whole run; documents of one token have none";
    bool spike = spikes(s, loss), starved = starves(s, tokens);
    return spike     ? "stop_sigma: the loss stays far above its window"
           : starved ? "stop_dead: too many experts got no token for a window"
                     : NULL;
}

const char *stop_return(struct stop *s)
{
    return ++s->returns > MOST_RETURNS ? "train.guard: it has gone back ten times, and goes wrong again" : NULL;
}

json_t *stop_save(const struct stop *s)
{
    json_t *window = json_array(), *idle = json_array();
    for (int i = 0; i < s->n; i++) json_array_append_new(window, json_real(s->window[i]));
    for (int64_t i = 0; i < s->experts; i++) json_array_append_new(idle, json_integer(s->idle[i]));
    return json_pack("{s:o, s:i, s:o, s:i, s:i}", "window", window, "high", s->high, "idle", idle, "empty", s->empty,
                     "returns", s->returns);
}

void stop_load(struct stop *s, const json_t *from)
{
    const json_t *window = json_object_get(from, "window"), *idle = json_object_get(from, "idle");
    s->n = (int)json_array_size(window) < s->room ? (int)json_array_size(window) : s->room;
    s->high = (int)json_integer_value(json_object_get(from, "high"));
    s->empty = (int)json_integer_value(json_object_get(from, "empty"));
    s->returns = (int)json_integer_value(json_object_get(from, "returns"));
    for (int i = 0; i < s->n; i++) s->window[i] = json_number_value(json_array_get(window, (size_t)i));
    for (int64_t i = 0; i < s->experts; i++) s->idle[i] = (int)json_integer_value(json_array_get(idle, (size_t)i));
}
