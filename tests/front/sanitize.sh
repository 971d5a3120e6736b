#!/bin/sh
# sanitize.sh FOLDER: builds everything with AddressSanitizer and UndefinedBehaviorSanitizer in FOLDER and runs the tests labelled
# `sanitize` there: each room's own, the golden cases and the command line; not the long random ones.
set -eu
jobs=$(nproc)
cmake -S . -B "$1" -G Ninja -DCMAKE_C_COMPILER="$CC" -DBUILD_TESTING=ON -DNHAC_SANITIZE=ON -DNHAC_WERROR=ON --log-level=WARNING >/dev/null
cmake --build "$1" -j "$jobs" -- --quiet
unset NHAC_LONG NHAC_KILL_RUNS
exec ctest --test-dir "$1" -L sanitize -j "$jobs" --output-on-failure --no-label-summary
