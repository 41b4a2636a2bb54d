#!/bin/sh
# Flash and RAM of the library in its default configuration, as cortex-m0plus code, optimised for size (`opt-level = "s"`): the
# object of the library alone, without the linker's help. Fails above the bars, one and a half times those of the C library.
# What is generated for the application's memory and port (`Device::new`, `Device::service`) is printed beside it.
# TARGET=... with TOOLS=... measures another target, VERBOSE=1 lists the functions.
set -eu
flash_max=9216
ram_max=2304
here=$(cd "$(dirname "$0")" && pwd)
target=${TARGET:-thumbv6m-none-eabi}
tools=${TOOLS:-arm-none-eabi-}
command -v "${tools}size" >/dev/null || { echo "size.sh: there is no ${tools}size" >&2; exit 2; }
out=$(mktemp -d)
trap 'rm -r "$out"' EXIT
CARGO_PROFILE_RELEASE_LTO=off RUSTFLAGS='--emit=obj -Cforce-unwind-tables=no' cargo build --quiet --locked --release \
    --manifest-path "$here/Cargo.toml" --example size --target "$target" --target-dir "$out"
library=$(echo "$out/$target"/release/deps/laneway_embedded-*.o)
around=$(echo "$out/$target"/release/examples/size-*.o)
# Code and constants; the example's constants are the memory and pointers.
flash=$("${tools}size" -A "$library" | awk '/^\.(text|rodata|data)/ { sum += $2 } END { print sum }')
glue=$("${tools}size" -A "$around" | awk '/^\.text/ { sum += $2 } END { print sum }')
globals=$("${tools}size" "$library" | awk 'NR > 1 { print $2 + $3 }')
ram=$("${tools}nm" -C --print-size -t d "$around" | awk '/ size::(MEMORY|DEVICE)$/ { sum += $2 } END { print sum }')
outside=$("${tools}nm" -u "$library" | awk '{ print $2 }' | tr '\n' ' ')
[ -z "${VERBOSE:-}" ] || "${tools}nm" -C --print-size --size-sort -t d "$library"
echo "flash   $flash bytes of $flash_max, and $glue for memory and port"
echo "ram     $ram bytes of $ram_max for each device, $globals of globals"
echo "outside $outside"
[ "$flash" -le "$flash_max" ] && [ "$ram" -le "$ram_max" ] && [ "$globals" -eq 0 ]
