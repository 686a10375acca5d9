#!/bin/sh
# Makes sluice-VERSION-linux-x86_64.tar.gz: the program, the CUDA backend for sm_80 and sm_90, the tests that
# gpu-check.sh runs, and the Debian libraries that they need, all found from where it is unpacked. Builds in
# build-bundle. sh scripts/gpu-bundle.sh [FOLDER FOR IT]
# glibc, libstdc++, the driver, cuBLASLt, NCCL and MPI are those of the machine that runs it.
set -eu
export LC_ALL=C
cd "$(dirname "$0")/.."
to=${1:-.}
build=build-bundle
sh scripts/deps.sh

fail() { echo "gpu-bundle.sh: $*" >&2; exit 1; }
quietly() { "$@" >>"$build.log" 2>&1 || { tail -n 60 "$build.log" >&2; fail "$*"; }; }

: >"$build.log"
quietly cmake -S . -B $build -G Ninja -DCMAKE_BUILD_TYPE=Release -DSLUICE_CUDA=ON '-DSLUICE_CUDA_TARGETS=80;90' \
    '-DCONFORMANCE_TARGETS=80;90'
quietly cmake --build $build --target sluice gpu_check

name=sluice-$(sed -n 's/^CMAKE_PROJECT_VERSION:STATIC=//p' $build/CMakeCache.txt)-linux-x86_64
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/$name
quietly cmake --install $build --strip --prefix "$root"
quietly cmake --install $build --strip --prefix "$root" --component gpu_check
ln -s ../bin/libsluice_cuda.so "$root/check/libsluice_cuda.so"      # the backend stands beside the program

# ---- libraries, each with the licence of its package ----

# The machine's own are used of those that its driver shares, and that every machine has: ours would ask for a newer
# glibc.
of_the_machine='libc6 libstdc++6 libgcc-s1'

package_of() {
    for path in "$1" "/usr$1" "$(realpath "$1")"; do
        dpkg-query -S "$path" 2>/dev/null && return
    done | sed -n '1s/:.*//p'
}
mkdir "$root/lib" "$root/licences"
env -u LD_LIBRARY_PATH ldd "$root/bin/sluice" "$root/bin/libsluice_cuda.so" "$root"/check/* 2>/dev/null |
    awk '$2 == "=>" && $3 ~ /^\// && $3 !~ /cuda/ { print $3 }' | sort -u >"$work/libraries"
while read -r library; do
    package=$(package_of "$library")
    [ -n "$package" ] || fail "$library is of no Debian package"
    case " $of_the_machine " in *" $package "*) continue ;; esac
    cp -L "$library" "$root/lib/"
    cp -L "/usr/share/doc/$package/copyright" "$root/licences/$package"
done <"$work/libraries"
cudart=$(sed -n 's/^CUDA_cudart:FILEPATH=//p' $build/CMakeCache.txt)
cp -L "$cudart" "$root/lib/$(objdump -p "$cudart" | sed -n 's/^ *SONAME *//p')"
echo 'libcudart is redistributed as the CUDA Toolkit EULA allows (Attachment A): https://docs.nvidia.com/cuda/eula/' \
    >"$root/licences/cudart"

# ---- what people read and run ----

cp -R README.md LICENSE CITATION.cff docs experiments scripts/gpu-check.sh scripts/bundle/sluice "$root/"
cp scripts/bundle/cuda.sh "$root/lib/"
cp bench/peer/torch_gpu.py "$root/check/"
sed -n '/^```lua run study.lua$/,/^```$/p' README.md | sed '1d; $d' >"$root/study.lua"
sed -n 's/.*"\(.*\)";$/\1/p' $build/revision.c >"$root/REVISION"

tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$(git log -1 --format=%ct)" \
    -cf "$work/$name.tar" "$name"
gzip -9n "$work/$name.tar"
mv "$work/$name.tar.gz" "$to/"
packed=$(stat -c %s "$to/$name.tar.gz")
glibc=$(objdump -T "$root"/bin/* "$root"/lib/*.so* "$root"/check/* 2>/dev/null |
    grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -n 1)
echo "$to/$name.tar.gz: $((packed / 1048576)) MiB packed, $(du -sm "$root" | cut -f 1) MiB unpacked;" \
    "needs ${glibc#GLIBC_} or later of glibc"
[ "$packed" -le $((30 * 1048576)) ] || fail "more than 30 MiB"
