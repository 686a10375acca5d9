#!/bin/sh
# Who may include what. Libraries with one home, and one direction between our own layers.
set -eu
bad=0
say() { echo "$*" >&2; bad=1; }

# A header of a library has one home.
home() {
    found=$(grep -rlE "#include [<\"]$1" runtime modules lua analysis cuda --include='*.c' --include='*.h' | grep -vE "^($2)" || true)
    [ -z "$found" ] || say "$1 has its home in $2, but is included by:" $found
}
home 'hdf5' 'runtime/store/'
home '(lua|lualib|lauxlib)\.h' 'lua/'
home 'mpi\.h' 'runtime/comm/mpi\.c'
home 'nccl' 'cuda/comm\.c'
home 'cuda' 'cuda/'
home 'xxhash' 'runtime/base.c'
home 'z(lib|std)\.h' 'runtime/data/inflate.c'
home 'Random123' 'runtime/draw.h'

# A layer may include itself and those below it.
layer() {
    files=$1; allowed=$2
    for file in $(ls $files 2>/dev/null); do
        for header in $(sed -n 's/^#include "\([^"]*\)".*/\1/p' "$file"); do
            echo "$header" | grep -qE "^($allowed)$" || say "$file includes \"$header\"; allowed: $allowed"
        done
    done
}
layer 'runtime/base.c runtime/base.h' '(base|draw)\.h'
layer 'runtime/file.c runtime/file.h' '(base|file)\.h'
layer 'runtime/regular.c runtime/regular.h' '(base|regular)\.h'
layer 'runtime/draw.h' 'float_log\.h'
layer 'runtime/float_log.h' 'none'
layer 'runtime/shape.h runtime/comm.h' 'base\.h'
layer 'runtime/graph.h' 'shape\.h'
layer 'runtime/graph.c runtime/fingerprint.c' '(graph|ops)\.h'
layer 'runtime/object.h' 'base\.h'
layer 'runtime/process.c runtime/process.h' 'process\.h'
layer 'runtime/comm.c runtime/comm/mpi.c' '(comm|object)\.h'
layer 'runtime/ops.h' '(graph|level)\.h'
layer 'runtime/level.h' 'none'
layer 'runtime/kernel.h' 'ops\.h'
layer 'runtime/ops/*.c runtime/ops/*.h' '(kernel|ops|sort|values|vec_math|float_log|cpu/isa/attend_few|cpu/isa/vector|cpu/gemm)\.h'
layer 'runtime/cpu/isa/*' '(kernel|attend|attend_vec|attend_rows|draw|product|vector|cpu/gemm|cpu/isa|ops/vec_math)\.h'
layer 'runtime/config.h' 'base\.h'
layer 'runtime/module.h' '(config|ops)\.h'
layer 'modules/*.c' 'module\.h'
layer 'runtime/plan.h' 'backend\.h'
layer 'runtime/backend.h' '(kernel|comm)\.h'
layer 'cuda/*.c cuda/*.h' '(base|backend|comm|device|gemm|kernel|parts|process|twin)\.h'
layer 'cuda/*.cu cuda/*.cuh' '(kernel|draw|backend|device|gemm|parts|twin)\.h|[a-z0-9_]+\.cuh'
layer 'runtime/order.c runtime/plan.c runtime/cost.c runtime/execute.c runtime/chain.c runtime/state.c runtime/place.c' '(plan|plan_private|place|state|comm)\.h'
layer 'runtime/model.c runtime/model.h runtime/build.c runtime/registry.c' '(model|module|plan|list)\.h'
layer 'runtime/store/*.c runtime/store/*.h runtime/store.h' '(base|file|process|regular|store|private)\.h'
layer 'runtime/data/*.c runtime/data/*.h runtime/data.h' '(base|file|regular|bytes|data|tokens|corpus|inputs|documents|jsontext|pack)\.h'

[ $bad = 0 ] && echo "includes: one direction"
exit $bad
