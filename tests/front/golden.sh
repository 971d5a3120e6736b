#!/bin/sh
# golden.sh NAME [DEVICE...]: builds tests/golden/NAME.yaml, runs its input through `nhac run`, compares with the expected outputs at
# the tolerances of docs/testing.md; then once more with every sequence on its own, cut into prefill pieces and decode steps that hand on their cache.
# DEVICE: cpu (the default), cpu:ISA, which forces the kernels of that ISA, emu:TARGET, or cuda:0, which is the fake driver with a GPU of compute capability 9.0.
# Environment: NHAC, GOLDEN_TOOL; for cuda:0 FAKE_DRIVER, the folder of its libcuda.so.1.
set -eu
name=$1
shift
[ $# -gt 0 ] || set -- cpu
golden=tests/golden/$name
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM

targets=
for device in "$@"; do
    case $device in
    emu:*) target=${device#emu:} ;;
    cuda:*) target=sm_90 ;;
    cpu:*) target=cpu ;;
    *) target=$device ;;
    esac
    case $targets in *"$target "*) ;; *) targets="$targets--target $target " ;; esac
done
# shellcheck disable=SC2086 # several words
"$NHAC" build "$golden.yaml" $targets -o "$work" >/dev/null
library=$work/$name

# run OP IN OUT: on $device.
run() {
    case $device in
    cuda:*)
        LD_LIBRARY_PATH=$FAKE_DRIVER NHAC_FAKE_DEVICE=9.0 NHAC_FAKE_PTX=$library \
            "$NHAC" run "$library" --op "$1" --in "$2" --out "$3" --device "$device" >/dev/null
        ;;
    cpu:*) "$NHAC" run "$library" --op "$1" --in "$2" --out "$3" --isa "${device#cpu:}" >"$work/said" ;;
    *) "$NHAC" run "$library" --op "$1" --in "$2" --out "$3" --device "$device" >/dev/null ;;
    esac
}

# piece OP SEQUENCE BEGIN END NUMBER: runs tokens [BEGIN, END) of the sequence from the cache that the piece before it left.
piece() {
    before=
    [ "$5" -gt 0 ] && before=$work/$2.$(($5 - 1)).out
    "$GOLDEN_TOOL" slice "$golden.in.safetensors" "$work/piece.in" "$2" "$3" "$4" $before
    run "$1" "$work/piece.in" "$work/$2.$5.out"
}

for device in "$@"; do
    echo "$device"
    run prefill "$golden.in.safetensors" "$work/whole.safetensors"
    case $device in cpu:*) grep -q "prefill\.${device#cpu:}\." "$work/said" ;; esac # not what is below it
    "$GOLDEN_TOOL" compare "$golden.expected.safetensors" "$work/whole.safetensors"

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
done
