#!/bin/sh
# scripts/gpu-check.sh on the emulated GPU, over a bundle made of this build: a check that hangs, crashes or lacks a
# library costs its own line and nothing else; the page says what happened.
set -eu
. "$(dirname "$0")/study.sh"
build=$(dirname "$sluice") root=$(dirname "$here")
[ -e "$build/libsluice_cuda.so" ] || skip "built without CUDA"
[ -e "$build/ptxhost/conformance-fast.so" ] && [ -x "$build/test_cuda_fill" ] ||
    skip "the emulated GPU or its tests are not built"
export PTXHOST_ARCH=sm_90 LD_LIBRARY_PATH="$build/ptxhost" \
    PTXHOST_KERNELS="$build/ptxhost/sluice-fast.so:$build/ptxhost/conformance-fast.so"

# stands FILE: a program whose text comes from stdin.
stands() { { echo '#!/bin/sh'; cat; } >"$1" && chmod +x "$1"; }

mkdir -p bundle/bin bundle/lib bundle/check bin
cp "$root/scripts/bundle/sluice" bundle/
cp "$root/scripts/bundle/cuda.sh" bundle/lib/
cp "$root/bench/peer/torch_gpu.py" bundle/check/
echo none >bundle/REVISION
ln -s "$sluice" "$build/libsluice_cuda.so" bundle/bin/
ln -s "$build/ptxhost_conformance" "$build/test_cuda_fill" bundle/check/
echo "exec '$build/test_cuda_ops' rmsnorm" | stands bundle/check/test_cuda_ops
sed 's/libcmocka\.so\.0/libnowhere.so0/' "$build/test_cuda_edges" >bundle/check/test_cuda_edges &&
    chmod +x bundle/check/test_cuda_edges
echo 'kill -SEGV $$' | stands bundle/check/test_cuda_fused
echo 'echo 3 values differ; exit 1' | stands bundle/check/test_cuda_modules
echo "sleep 1000 & echo \$! >'$folder/sleeper'; wait" | stands bundle/check/test_cuda_training

# The test that hangs is given 3 s. A sanitizer that finds something in the first program; after the second, 12 minutes
# are over.
stands bin/timeout <<END
case "\$*" in *test_cuda_training*) shift 3; set -- -k 5 3 "\$@" ;; esac
exec $(command -v timeout) "\$@"
END
stands bin/date <<END
[ ! -e '$folder/late' ] || set -- --date='now + 12 minutes' "\$@"
exec $(command -v date) "\$@"
END
stands bin/compute-sanitizer <<END
case "\$*" in *test_cuda_ops*) echo '========= 1 error'; exit 1 ;; esac
[ "\$1 \$2 \$SLUICE_CUDA_MEMORY" = '--tool memcheck apart' ] || exit 9
shift 6 && "\$@" && touch '$folder/late'
END
check() { PATH="$folder/bin:$PATH" sh "$root/scripts/gpu-check.sh" "$@"; }
verdict() {
    grep "^$1	$2	.*${3:-}" out/results.tsv >/dev/null ||
        { cat out/results.tsv >log; fail "'$1' is not '$2 ... ${3:-}'"; }
}

leaves 1 check --small bundle out
verdict machine ok 'ptxhost sm_90'
verdict 'conformance of instructions' ok '0 failed'
verdict 'parity: ops' ok PASSED
verdict 'parity: fill' ok PASSED
verdict 'parity: edges' FAILED libnowhere
verdict 'parity: fused' crashed 'signal 11'
verdict 'parity: modules' DIFFERS '3 values differ'
verdict 'parity: training' hung stopped
! kill -0 "$(cat sleeper)" 2>/dev/null || fail "what the hanging test started is still there"
for precision in fp32 bf16; do
    verdict "training: $precision" ok
    for how in again 'graph off' 'memory apart'; do verdict "same bits: $precision, $how" ok 'equal bytes'; done
    for preset in baseline-nano baseline-medium welm-tiny dense-124m; do
        verdict "throughput: $preset $precision" ok tokens/s
    done
done
for jobs in 1 2 4; do verdict "runs on one GPU: $jobs at once" ok 'runs a minute'; done
verdict 'PyTorch: copy' 'not measured' PyTorch
verdict 'memcheck: ops' DIFFERS '1 error'
verdict 'memcheck: training' ok
verdict 'racecheck: ops' 'not measured' 'no time left'
verdict 'racecheck: training' 'not measured' 'no time left'
[ "$(cut -f 1 out/results.tsv | sort)" = "$(check --list | cut -f 1 | sort)" ] || fail "not every check has a line"
for name in 'parity: modules' machine; do grep -q "^==== $name: " out/log.txt || fail "log.txt lacks $name"; done
echo "what hangs, crashes, differs or lacks a library is one line"

# ---- the page ----
leaves 0 /usr/bin/python3 "$root/bench/gpu_results.py" out -o page.md
row() { tr -s ' -' <page.md | grep -qF "$1" || { cp page.md log; fail "no row '$1'"; }; }
row '| GPU 0 | ptxhost sm_90'
row '| parity: modules | DIFFERS | exit code 1: 3 values differ |'
row '| racecheck: ops | not measured | no time left |'
[ "$(tr -s ' ' <page.md | grep -cE '^\| (baseline|welm|dense).* (bf16|fp32) \| 32 \| [0-9]')" = 16 ] ||
    { cp page.md log; fail "16 rows of throughput are not there"; }
grep -qF 'With `--small`' page.md || fail "the page does not say that models were tiny"
page=$root/docs/gpu-results.md
leaves 0 /usr/bin/python3 "$root/bench/gpu_results.py" -o page.md
! grep -q '^Machine, date and revision: not measured' "$page" || cmp "$page" page.md ||
    fail "write it anew: python3 bench/gpu_results.py"
echo "the page says it"

# ---- where NVIDIA's libraries are: a backend that needs what the loader cannot find, and a Python that has it ----
packages=$folder/venv/lib/python3.11/site-packages/nvidia/cu13/lib
mkdir -p apart/bin venv/bin "$packages"
sed 's/libcublasLt\.so\.13/libcublasLt.so.99/' "$build/libsluice_cuda.so" >apart/bin/libsluice_cuda.so
ln -s /bin/true venv/bin/python3
touch "$packages/libcublasLt.so.99"
environment() {
    PATH="$folder/venv/bin:$PATH" sh -euc 'BUNDLE=$1; . "$2"; echo "$LD_LIBRARY_PATH"' sh "$1" \
        "$root/scripts/bundle/cuda.sh"
}
case $(environment apart) in
"$build/ptxhost:"*"$packages"*) ;;
*) environment apart >log; fail "the folder of libcublasLt.so.99 is not found" ;;
esac
case $(environment bundle) in *venv*) fail "a folder that is not needed is in LD_LIBRARY_PATH" ;; esac
echo "what the loader lacks is found in Python's packages"

# ---- no GPU; arguments ----
leaves 77 env PTXHOST_DEVICES=0 sh "$root/scripts/gpu-check.sh" --small bundle none
leaves 2 check --smal bundle other
leaves 2 check bundle out
says 'is there already'
leaves 2 check "$root/tests" other
says 'it is no bundle'
