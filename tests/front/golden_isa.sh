#!/bin/sh
# golden_isa.sh ISA: every golden case on the CPU with that ISA forced. Exit 77, "skipped", where this CPU lacks it. Cases whose
# library has no kernel of the ISA (AMX is for 16-bit types) are counted and named; at least one must have.
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
[ "$done" -gt 0 ]
