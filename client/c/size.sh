#!/bin/sh
# Flash and RAM of the library in its default configuration, as cortex-m0plus code: the object of laneway.c alone, without
# the linker's help. Fails above the bars. COMPILER=... and FLAGS=... measure another target.
set -eu
flash_max=6144
ram_max=1536
here=$(cd "$(dirname "$0")" && pwd)
compiler=${COMPILER:-arm-none-eabi-gcc}
flags=${FLAGS:--mcpu=cortex-m0plus -mthumb -Os}
command -v "$compiler" >/dev/null || { echo "size.sh: there is no $compiler" >&2; exit 2; }
out=$(mktemp -d)
trap 'rm -r "$out"' EXIT
# shellcheck disable=SC2086
"$compiler" $flags -c "$here/laneway.c" -o "$out/laneway.o"
echo '#include "laneway.h"
lw_device device;' >"$out/device.c"
# shellcheck disable=SC2086
"$compiler" $flags -I"$here" -c "$out/device.c" -o "$out/device.o"
size=${compiler%gcc}size
flash=$("$size" "$out/laneway.o" | awk 'NR == 2 { print $1 + $2 }')
globals=$("$size" "$out/laneway.o" | awk 'NR == 2 { print $2 + $3 }')
ram=$("$size" "$out/device.o" | awk 'NR == 2 { print $2 + $3 }')
outside=$("${compiler%gcc}nm" -u "$out/laneway.o" | awk '{ print $2 }' | tr '\n' ' ')
echo "flash   $flash bytes of $flash_max"
echo "ram     $ram bytes of $ram_max for each device, $globals of globals"
echo "outside $outside"
[ "$flash" -le "$flash_max" ] && [ "$ram" -le "$ram_max" ] && [ "$globals" -eq 0 ]
