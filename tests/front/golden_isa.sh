#!/bin/sh
# golden_isa.sh ISA: every golden case on the CPU with that ISA forced. Exit 77, "skipped", where this CPU lacks it. Cases whose
# library has no kernel of the ISA are named: on AMX (16-bit types, and f32 with head dims of 64 on) at most those that are small f32;
# elsewhere there is none.
# Environment: as golden.sh.
set -eu
isa=$1
said=$(mktemp)
trap 'rm -f "$said"' EXIT INT TERM
done=0 without=
for case in tests/golden/*.yaml; do
    name=$(basename "$case" .yaml)
    if sh tests/front/golden.sh "$name" "cpu:$isa" >"$said" 2>&1; then
        done=$((done + 1))
    elif grep -q "this CPU has no $isa" "$said"; then
        echo "skipped: this CPU has no $isa"
        exit 77
    elif grep -q "has no kernel for $isa" "$said"; then
        without="$without $name"
    else
        echo "$name:"
        cat "$said"
        exit 1
    fi
done
echo "$isa: $done cases${without:+; no kernel of it for$without}"
case $isa in
amx) [ "$done" -ge 2 ] ;; # gqa-neox-bf16 and rope-given-m80-f16 at least
*) [ -z "$without" ] ;;
esac
