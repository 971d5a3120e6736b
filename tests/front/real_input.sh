#!/bin/sh
# real_input.sh REPORT: the committed real input, through `nhac build` and `nhac run`, agrees with the oracle; and a spoilt output
# does not pass for a good one. Environment: NHAC, GOLDEN_TOOL.
set -eu
report=$1
example=examples/real-input
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM

[ "$(wc -c <$example/input.safetensors)" -lt 1000000 ]
"$NHAC" build $example/minilm.yaml -o "$work" >/dev/null
"$NHAC" run "$work/minilm" --op prefill --in $example/input.safetensors --out "$work/out.safetensors" >/dev/null
"$report" $example/minilm.yaml $example/input.safetensors "$work/out.safetensors"

"$GOLDEN_TOOL" spoil "$work/out.safetensors" "$work/spoilt.safetensors" o
if "$report" $example/minilm.yaml $example/input.safetensors "$work/spoilt.safetensors" >"$work/log" 2>&1; then
    echo "a spoilt output passed"
    cat "$work/log"
    exit 1
fi
