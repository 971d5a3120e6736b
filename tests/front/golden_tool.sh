#!/bin/sh
# golden_tool.sh: the comparison that the golden tests rest on accepts what it should, and refuses an output that was changed in
# any one tensor, has a wrong shape, or lacks a tensor. Environment: GOLDEN_TOOL.
set -eu
golden=tests/golden
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
refused() {
    if "$GOLDEN_TOOL" "$@" >"$work/log" 2>&1; then
        echo "accepted: golden_tool $*"
        cat "$work/log"
        exit 1
    fi
}

for name in basic-f32 pure-window-m0 varlen; do
    "$GOLDEN_TOOL" compare $golden/$name.expected.safetensors $golden/$name.expected.safetensors
done
for tensor in o lse hk hv; do
    "$GOLDEN_TOOL" spoil $golden/basic-f32.expected.safetensors "$work/spoilt" $tensor
    refused compare $golden/basic-f32.expected.safetensors "$work/spoilt"
done
refused compare $golden/basic-f32.expected.safetensors $golden/lag-zero.expected.safetensors
refused compare $golden/basic-f32.expected.safetensors $golden/basic-f32.in.safetensors
refused compare $golden/basic-f32.expected.safetensors "$work/nothing"
[ "$("$GOLDEN_TOOL" lengths $golden/gptj-odd-dims.in.safetensors | tr '\n' ' ')" = "37 37 " ]
