/* sluice ckpt: checkpoints and model files. */
#include "ckpt.h"

static const struct option options[] = {
    { "output", 'o', "PATH", "of average: the folder that the checkpoint is written into, as step-N; of convert and "
                             "map: the model file" },
    { "tensor", 't', "PATTERN", "of inspect: each tensor of such a path by itself; may be repeated" },
    { "json", 0, NULL, "of inspect: machine-readable" },
    { "last", 'n', "N", "of average: of each run its newest N checkpoints (1)" },
    { "weight", 'w', "X", "of average: of a checkpoint, in the order in which they are averaged; given for each or for "
                          "none" },
    { "dtype", 0, "TYPE", "of convert and map: matrices as f32, bf16 or f16; vectors stay f32 (f32)" },
    { "merge", 0, NULL, "of convert: add adapters to the weights that they belong to" },
    { "raw", 0, NULL, "of convert: of weights that have averages, the weights themselves" },
    { "replicates", 'r', "N", "of map: replicates in place of the script's" },
    { "set", 's', "PATH=VALUE", "of map: change a key of the script, as sluice run has it; may be repeated" },
    { "data", 'd', "FILE", "of average: where the data lies now; of map: token file in place of the script's" },
    { "out", 0, "DIR", "of map: where studies are kept (runs)" },
    { "trust", 0, NULL, "of map: give the script Lua's full standard library, and no limits" },
    { 0 }
};

static enum code run(const struct call *c)
{
    static const struct verb verbs[] = {
        { "inspect", ckpt_inspect }, { "average", ckpt_average }, { "convert", ckpt_convert }, { "map", ckpt_map },
    };
    return cli_verb(c, verbs, COUNT(verbs));
}

const struct command command_ckpt = {
    .name = "ckpt", .about = "look into checkpoints, average, convert and map them",
    .usage = "inspect PATH | average PATH... -o DIR | convert PATH -o FILE | map SCRIPT VARIANT[/REPLICATE] -o FILE",
    .example = "sluice ckpt inspect runs/quickstart/base-3f9a12cd/0\n"
               "sluice ckpt average runs/quickstart/base-3f9a12cd/0 --last 4 -o averaged\n"
               "sluice ckpt convert averaged/step-00000500 -o model.safetensors --dtype bf16\n"
               "sluice ckpt map grown.lua sparse -o sparse.safetensors",
    .options = options, .least = 2, .most = -1, .run = run,
    .more = "PATH is a checkpoint, a run's folder, which stands for its newest, or a file of weights.\n\n"
            "inspect    says what there is: every byte is verified, and of each tensor root mean square, largest value "
            "and how many are not finite.\n"
            "average    writes the mean of checkpoints as a checkpoint, and says its loss beside that of the last of "
            "them. All must have the tensors of the first run: the same paths, types and shapes. Nothing goes on from "
            "it, and no run is changed. In the stable phase of a schedule it comes near to what a decay would give.\n"
            "convert    writes all that the model computes with, as it is evaluated, and its configuration, as one "
            ".safetensors file. What training remembers is left out.\n"
            "map        writes what a variant begins with that has init = { \"from\", .. }, and says what each tensor "
            "is made of.\n\n"
            "sluice sample takes any PATH; init.from takes checkpoints and files.",
};
