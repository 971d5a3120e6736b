#!/bin/sh
# embed.sh CMAKE BUILD: installs libnha from the folder BUILD, builds a library for the embedding example and the example against both,
# once through the CMake packages and once through the pkg-config files, and runs each. Environment: NHAC, CC.
set -eu
cmake=$1
build=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
unset PKG_CONFIG_PATH CMAKE_PREFIX_PATH

"$NHAC" build examples/embed/layer.yaml -o "$work/kernels" >/dev/null
"$cmake" --install "$build" --component nha --prefix "$work/prefix" >/dev/null

"$cmake" -S examples/embed -B "$work/embed" -G Ninja -DCMAKE_C_COMPILER="$CC" -DCMAKE_C_FLAGS="-O1 -Wall -Wextra -Werror" \
    -DCMAKE_PREFIX_PATH="$work/prefix;$work/kernels/layer" >/dev/null
"$cmake" --build "$work/embed" -- --quiet
"$work/embed/engine"

pc=$(dirname "$(find "$work/prefix" -name nha.pc)")
export PKG_CONFIG_PATH="$pc:$work/kernels/layer"
flags=$(pkg-config --cflags --libs nha_layer nha)
# shellcheck disable=SC2086 # one word a flag
"$CC" -std=c11 -O1 -Wall -Wextra -Werror examples/embed/main.c $flags -lm -Wl,-rpath,"${pc%/pkgconfig}" -o "$work/engine"
"$work/engine"

# The archive and libnha alone: the engine needs nothing but libc and pthreads where it runs.
if command -v readelf >/dev/null; then
    needed=$(readelf -d "$work/embed/engine" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | grep -v -E '^(libc|libm|libpthread|libdl|ld-linux.*)\.so' || true)
    [ -z "$needed" ] || { echo "the engine also needs: $needed"; exit 1; }
fi
