# Sourced with BUNDLE, the folder of this release: adds to LD_LIBRARY_PATH the folders of NVIDIA's libraries that the
# loader does not find by itself, where the driver, the Toolkit or a Python on PATH keeps them.
cuda_missing() {
    LD_TRACE_LOADED_OBJECTS=1 /lib64/ld-linux-x86-64.so.2 --preload 'libcuda.so.1 libnccl.so.2' \
        "$BUNDLE/bin/libsluice_cuda.so" 2>&1 |
        sed -n "s/^[[:space:]]*\(.*\) => not found\$/\1/p; s/.*object '\(.*\)' from --preload cannot.*/\1/p"
}
cuda_folders() {
    printf '%s\n' /usr/local/cuda/lib64 /usr/local/cuda*/lib64 /usr/local/nvidia/lib64 /usr/lib/wsl/lib
    echo "$PATH" | tr : '\n' | while read -r folder; do
        [ -x "$folder/python3" ] || continue
        for base in "${folder%/*}" "$(readlink -f "$folder/python3" | sed 's|/bin/[^/]*$||')" "${HOME:-}/.local"; do
            for packages in "$base"/lib*/python3*/*-packages "$base"/local/lib*/python3*/*-packages; do
                printf '%s\n' "$packages"/nvidia/*/lib "$packages"/torch/lib
            done
        done
    done
}
missing=$(cuda_missing)
[ -z "$missing" ] || folders=$(cuda_folders)
for library in $missing; do
    while read -r folder; do
        [ -e "$folder/$library" ] || continue
        case :${LD_LIBRARY_PATH:-}: in
        *":$folder:"*) ;;
        *) export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folder" ;;
        esac
        break
    done <<END
$folders
END
done
