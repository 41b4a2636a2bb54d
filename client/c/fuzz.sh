#!/bin/sh
# fuzz.sh [SECONDS]: the library against bytes that nobody would send, with address and undefined-behaviour checks. Uses
# libFuzzer if there is a clang, and otherwise inputs of the program's own.
set -eu
seconds=${1:-60}
here=$(cd "$(dirname "$0")" && pwd)
out=$(mktemp -d)
trap 'rm -r "$out"' EXIT
checks="-g -O1 -std=c99 -fno-sanitize-recover=all"
# shellcheck disable=SC2086
if command -v clang >/dev/null && clang $checks -fsanitize=fuzzer,address,undefined "$here/tests/fuzz.c" -o "$out/fuzz"; then
    cd "$out" && mkdir corpus
    "$out/fuzz" -max_total_time="$seconds" -max_len=2048 -print_final_stats=1 -verbosity=0 corpus
else
    echo "fuzz.sh: no libFuzzer here; inputs of its own instead" >&2
    cc $checks -fsanitize=address,undefined -DFUZZ_SEED="$(date +%s)" -DFUZZ_INPUTS="$((seconds * 5000))" \
        "$here/tests/fuzz.c" -o "$out/fuzz"
    "$out/fuzz"
fi
