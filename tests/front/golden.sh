#!/bin/sh
# golden.sh NAME: builds tests/golden/NAME.yaml, runs its input through `nhac run`, compares with the expected outputs at DESIGN's
# tolerances; then once more with every sequence on its own, cut into prefill pieces and decode steps that hand on their cache.
# Environment: NHAC, GOLDEN_TOOL.
set -eu
name=$1
golden=tests/golden/$name
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM

"$NHAC" build "$golden.yaml" -o "$work" >/dev/null
library=$work/$name

"$NHAC" run "$library" --op prefill --in "$golden.in.safetensors" --out "$work/whole.safetensors" >/dev/null
"$GOLDEN_TOOL" compare "$golden.expected.safetensors" "$work/whole.safetensors"

# piece OP SEQUENCE BEGIN END NUMBER: runs tokens [BEGIN, END) of the sequence from the cache that the piece before it left.
piece() {
    before=
    [ "$5" -gt 0 ] && before=$work/$2.$(($5 - 1)).out
    "$GOLDEN_TOOL" slice "$golden.in.safetensors" "$work/piece.in" "$2" "$3" "$4" $before
    "$NHAC" run "$library" --op "$1" --in "$work/piece.in" --out "$work/$2.$5.out" >/dev/null
}

sequence=0
for tokens in $("$GOLDEN_TOOL" lengths "$golden.in.safetensors"); do
    if [ "$tokens" -ge 12 ]; then # prefill, decode, prefill, prefill of one, decode
        a=$((tokens / 3)) b=$((tokens / 3 + 3)) c=$((tokens - 5)) d=$((tokens - 4))
        piece prefill $sequence 0 $a 0
        piece decode $sequence $a $b 1
        piece prefill $sequence $b $c 2
        piece prefill $sequence $c $d 3
        piece decode $sequence $d "$tokens" 4
        pieces=4
    elif [ "$tokens" -ge 2 ]; then
        piece prefill $sequence 0 1 0
        piece decode $sequence 1 "$tokens" 1
        pieces=1
    elif [ "$tokens" -eq 0 ]; then # nothing to cut; the whole run has it
        sequence=$((sequence + 1))
        continue
    else
        piece prefill $sequence 0 "$tokens" 0
        pieces=0
    fi
    outputs=
    for i in $(seq 0 $pieces); do outputs="$outputs $work/$sequence.$i.out"; done
    "$GOLDEN_TOOL" pieces "$golden.in.safetensors" "$golden.expected.safetensors" $sequence $outputs
    sequence=$((sequence + 1))
done
