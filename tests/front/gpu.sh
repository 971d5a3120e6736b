#!/bin/sh
# gpu.sh SOURCE BUILD: what a GPU box gets: nhac without LLVM, linked statically but for libc, and tests/gpu/run with it, here on the fake
# driver: a few golden cases and random problems, in which each kernel goes through NVRTC, libnha and the driver's functions.
# Environment: FAKE_DRIVER, the folder of the fake libcuda.so.1.
set -eu
source=$1
build=$2
cmake -S "$source" -B "$build" -DCMAKE_BUILD_TYPE=RelWithDebInfo -DNHAC_LLVM=OFF -DNHAC_STATIC=ON -DNHAC_WERROR=ON -DBUILD_TESTING=OFF >/dev/null
cmake --build "$build" --target nhac >/dev/null
nhac=$build/nhac

needed=$(readelf -d "$nhac" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | sort | tr '\n' ' ')
for library in $needed; do
    case $library in
    libc.so.6 | libm.so.6 | libdl.so.2 | libpthread.so.0 | ld-linux-*) ;;
    *) echo "nhac needs $library"; exit 1 ;;
    esac
done
"$nhac" doctor | grep -q 'LLVM .*not found.*the target cpu is missing'

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
if "$nhac" build specs/tiny.yaml --target cpu -o "$work" 2>"$work/log"; then
    echo "a build without LLVM made CPU kernels"
    exit 1
fi
grep -q 'built without LLVM' "$work/log"
[ ! -e "$work/tiny" ]

if ! "$nhac" doctor | grep -q 'NVRTC  *[0-9]'; then
    echo "SKIPPED, NOTHING WAS RUN: there is no NVRTC"
    exit 0
fi
# No cc either: the archive alone, which nhac opens by itself.
NHAC_CACHE_DIR=$work/cache PATH=/nonexistent "$nhac" build specs/tiny.yaml --target sm_90 -o "$work" 2>/dev/null >"$work/log"
grep -q 'left out: there is no cc' "$work/log"
NHAC_CACHE_DIR=$work/cache PATH=/nonexistent "$nhac" verify "$work/tiny" --cases 2

LD_LIBRARY_PATH=$FAKE_DRIVER NHAC_FAKE_DEVICE=9.0 NHAC_CACHE_DIR=$work/cache NHAC_FAKE_CACHE=$work/cache \
    tests/gpu/run golden random sanitizer --nhac "$nhac" --cases one-token varlen rope-given-m80-f16 --problems 3 --jobs 1 \
    --out "$work/results.jsonl"
[ "$(grep -c '"failed": 0' "$work/results.jsonl")" -eq 2 ]
