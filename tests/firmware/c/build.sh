#!/bin/sh
# build.sh BOARD OUT [PROGRAM]: the image of a board (lm3s, microbit, or rp2040, which is raw) as OUT; PROGRAM is main, the
# test image, or bench, which counts instructions. OPTIONS in the environment is for the compiler, as -DBOARD_BAUD=115200.
set -eu
board=$1
out=$2
here=$(cd "$(dirname "$0")" && pwd)
case $board in
lm3s) cpu=cortex-m3 define=BOARD_LM3S ;;
rp2040) cpu=cortex-m0plus define=BOARD_RP2040 ;;
microbit) cpu=cortex-m0 define=BOARD_MICROBIT ;;
*) echo "build.sh: $board is no board" >&2; exit 2 ;;
esac
program="$here/main.c $here/../../../client/c/laneway.c"
[ "${3:-}" != bench ] || program=$here/bench.c
script=$here/board.ld
if [ "$board" = rp2040 ]; then
    script=$out.ld
    sed 's/ORIGIN = 0,/ORIGIN = 0x10000000,/' "$here/board.ld" >"$script"
fi
# shellcheck disable=SC2086
arm-none-eabi-gcc -std=gnu99 -Os -g -ffreestanding -nostdlib -mthumb -mcpu=$cpu -D$define \
    "-DBOARD_NAME=\"$board\"" ${OPTIONS:-} -Wall -Wextra -Werror -fno-tree-loop-distribute-patterns -T "$script" \
    $program "$here/board.c" "$here/start.c" -lgcc -o "$out"
[ "$board" != rp2040 ] || arm-none-eabi-objcopy -O binary "$out"
