//! From reset to `main`: no data is initialised, so that there is nothing to copy.

use core::arch::global_asm;
use core::panic::PanicInfo;

#[cfg(target_arch = "arm")]
global_asm!(
    ".section .vectors, \"a\"",
    ".word stack_top, reset + 1",
    ".rept 46",
    ".word trap + 1",
    ".endr",
    ".section .text.reset, \"ax\"",
    ".global reset",
    ".thumb",
    "reset:",
    "ldr r0, =bss_begin",
    "ldr r1, =bss_end",
    "movs r2, #0",
    "1: cmp r0, r1",
    "bhs 2f",
    "str r2, [r0]",
    "adds r0, #4",
    "b 1b",
    "2: bl main",
    "trap: b trap",
    ".pool",
);

#[cfg(target_arch = "riscv32")]
global_asm!(
    ".section .vectors, \"ax\"",
    ".global reset",
    "reset:",
    "la sp, stack_top",
    "la a0, bss_begin",
    "la a1, bss_end",
    "1: bgeu a0, a1, 2f",
    "sw zero, 0(a0)",
    "addi a0, a0, 4",
    "j 1b",
    "2: call main",
    "3: j 3b",
);

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
