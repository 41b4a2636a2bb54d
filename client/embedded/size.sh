#!/bin/sh
# Flash and RAM of the library in its default configuration, as cortex-m0plus code: the objects of the library and of what
# is generated from its generics for one port, without the linker's help. Fails above the bars, which are one and a half
# times those of the C library. TARGET=... measures another target.
set -eu
flash_max=9216
ram_max=2304
here=$(cd "$(dirname "$0")" && pwd)
target=${TARGET:-thumbv6m-none-eabi}
tools=${TOOLS:-arm-none-eabi-}
command -v "${tools}size" >/dev/null || { echo "size.sh: there is no ${tools}size" >&2; exit 2; }
out=$(mktemp -d)
trap 'rm -r "$out"' EXIT
CARGO_PROFILE_RELEASE_LTO=off RUSTFLAGS=--emit=obj cargo build --quiet --locked --release --manifest-path "$here/Cargo.toml" --example size \
    --target "$target" --target-dir "$out"
objects=$(find "$out/$target/release" -name 'laneway_embedded-*.o' -o -name 'size-*.o')
flash=$("${tools}size" $objects | awk 'NR > 1 { sum += $1 + $2 } END { print sum }')
ram=$("${tools}size" $objects | awk 'NR > 1 { sum += $2 + $3 } END { print sum }')
outside=$("${tools}nm" -u $objects | awk 'NF == 2 { print $2 }' | grep -v laneway_embedded | sort -u | tr '\n' ' ')
[ -z "${VERBOSE:-}" ] || "${tools}nm" -C --print-size --size-sort $objects | tail -40
echo "flash   $flash bytes of $flash_max"
echo "ram     $ram bytes of $ram_max for each device"
echo "outside $outside"
[ "$flash" -le "$flash_max" ] && [ "$ram" -le "$ram_max" ]
