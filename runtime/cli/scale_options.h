/* What sluice plan has for a variant over several devices. */
#ifndef SLUICE_CLI_SCALE_OPTIONS_H
#define SLUICE_CLI_SCALE_OPTIONS_H

#include "script.h"

#define SCALE_OPTIONS \
    { "devices", 0, "N", "simulate a step on so many devices, in every layout: dp, ep, tp, pp, schedules, ZeRO" }, \
    { "cluster", 0, "FILE", "the devices and their links (docs/scale.md); else this machine, measured" }, \
    { "layout", 0, "'KEY=VALUE ..'", "what is given of a layout, the rest is tried: 'pp=4 schedule=1f1b zero=1'" }, \
    { "variant", 0, "VARIANT", "of which --devices speaks (the baseline)" }, \
    { "top", 0, "N", "so many of the fastest layouts (20)" }, \
    { "refused", 0, NULL, "layouts that cannot be had, too, with the reasons" }, \
    { "timeline", 0, "FILE.svg", "draw a step of the fastest layout" }

int scale_agrees(const struct call *c);                     /* -1, having said so: an option lacks --devices */
enum code scale_study(const struct call *c, const struct study *s);

#endif
