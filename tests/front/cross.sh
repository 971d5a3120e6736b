#!/bin/sh
# cross.sh: llama3-8b for every CUDA target, on a machine without a GPU: compiled, verified by the emulator, each cubin for its own target; and
# the same sources, byte for byte, when they are rendered again.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
if ! "$NHAC" doctor | grep -q 'NVRTC  *[0-9]'; then
    echo "SKIPPED, NOTHING WAS COMPILED: there is no NVRTC"
    exit 0
fi
targets="sm_80 sm_86 sm_89 sm_90 sm_90a sm_100f sm_120f"
options=
for target in $targets; do options="$options --target $target"; done
# shellcheck disable=SC2086 # several words
"$NHAC" build specs/llama3-8b.yaml $options -o "$work" 2>/dev/null
library=$work/llama3-8b
for target in $targets; do
    for op in prefill decode; do
        [ "$(ls "$library"/cubin/$op.$target.*.cubin | wc -l)" -eq 1 ]
        grep -q "^\.target $(echo "$target" | sed 's/f$//')" "$library"/ptx/$op.$target.*.ptx
        "$NHAC" show "$library" "$(basename "$library"/cubin/$op.$target.*.cubin .cubin)" --resources | tee "$work/log"
        grep -q 'stack frame 0 bytes, spills 0 bytes' "$work/log" # of the first launch at least: what runs long
    done
done
# shellcheck disable=SC2086
"$NHAC" gen specs/llama3-8b.yaml $options -o "$work/again" >/dev/null
diff -r "$library/src" "$work/again/llama3-8b/src"
if grep -l '#include' "$library"/src/*.cu || grep -l '^#if' "$library"/src/*.cu; then
    echo "a generated file includes something, or has a conditional"
    exit 1
fi
