#!/bin/sh
# build.sh BOARD OUT [PROGRAM]: the image of a board (lm3s, microbit or virt) as OUT; PROGRAM is main, the test image, or
# bench, which counts instructions. BOARD_BAUD in the environment is the rate of the line, if not 921600.
set -eu
board=$1
out=$2
program=${3:-main}
here=$(cd "$(dirname "$0")" && pwd)
case $board in
lm3s | microbit) target=thumbv6m-none-eabi script=cortex-m.ld ;;
virt) target=riscv32imc-unknown-none-elf script=riscv.ld ;;
*) echo "build.sh: $board is no board" >&2; exit 2 ;;
esac
features=$board
[ "$program" != bench ] || features=$features,bench
place=$(dirname "$out")/rust-$board-$program
RUSTFLAGS="-Clink-arg=-T$here/$script" ${CARGO:-cargo} build --quiet --locked --release --manifest-path "$here/Cargo.toml" \
    --target "$target" --target-dir "$place" --features "$features" --bin "$program"
cp "$place/$target/release/$program" "$out"
