//! The boards that QEMU has. All are polled: nothing is in an interrupt's hands.

#[cfg(feature = "lm3s")]
mod lm3s;
#[cfg(feature = "microbit")]
mod microbit;
#[cfg(feature = "virt")]
mod virt;

#[cfg(feature = "lm3s")]
pub use lm3s::{Board, NAME};
#[cfg(feature = "microbit")]
pub use microbit::{Board, NAME};
#[cfg(feature = "virt")]
pub use virt::{Board, NAME};

/// Reads a register of the board.
fn read<T: Copy>(address: usize) -> T {
    // SAFETY: callers name registers of their board, which are there for as long as it runs.
    unsafe { core::ptr::with_exposed_provenance::<T>(address).read_volatile() }
}

/// Writes a register of the board.
fn write<T: Copy>(address: usize, value: T) {
    // SAFETY: as above; and they have no effect on memory.
    unsafe { core::ptr::with_exposed_provenance_mut::<T>(address).write_volatile(value) }
}
