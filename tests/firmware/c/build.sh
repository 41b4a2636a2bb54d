#!/bin/sh
# build.sh BOARD OUT: the test image of a board (lm3s or microbit) as OUT.
set -eu
board=$1
out=$2
here=$(cd "$(dirname "$0")" && pwd)
case $board in
lm3s) cpu=cortex-m3 define=BOARD_LM3S ;;
microbit) cpu=cortex-m0 define=BOARD_MICROBIT ;;
*) echo "build.sh: $board is no board" >&2; exit 2 ;;
esac
exec arm-none-eabi-gcc -std=gnu99 -Os -g -ffreestanding -nostdlib -mthumb -mcpu=$cpu -D$define \
    "-DBOARD_NAME=\"$board\"" -Wall -Wextra -Werror -fno-tree-loop-distribute-patterns -T "$here/board.ld" \
    "$here/main.c" "$here/board.c" "$here/start.c" "$here/../../../client/c/laneway.c" -lgcc -o "$out"
