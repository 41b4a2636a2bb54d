//! Serial ports: opened and set up by plain system calls, then read and written by the ring like sockets.

use std::io;
use std::os::fd::{FromRawFd as _, IntoRawFd as _, OwnedFd};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::termios::{self, ControlFlags, FlushArg, SetArg};
use serialport::{DataBits, FlowControl, SerialPort as _, StopBits};

use super::super::Socket;
use super::borrow;
use crate::tty::{Flow, Modem, Parity, TtyErrors, TtyOptions};

/// How long RTS is set to reset a board.
const RESET_PULSE: Duration = Duration::from_millis(10);

/// The ports of a ring, by descriptor.
#[derive(Debug, Default)]
pub(super) struct Ttys {
    open: Vec<i32>,
}

impl Ttys {
    /// Whether it is one.
    pub(super) fn has(&self, socket: Socket) -> bool {
        self.open.contains(&socket.0)
    }

    /// Opens a port, for nobody else.
    pub(super) fn open(&mut self, tty: &TtyOptions) -> io::Result<Socket> {
        let socket = Socket(open(tty)?.into_raw_fd());
        self.open.push(socket.0);
        Ok(socket)
    }

    /// The port is about to be closed. What has not left is of no use to anybody, and closing would wait for it.
    pub(super) fn forget(&mut self, socket: Socket) {
        if let Some(place) = self.open.iter().position(|&open| open == socket.0) {
            self.open.swap_remove(place);
            let _ = termios::tcflush(borrow(&socket), FlushArg::TCIOFLUSH);
        }
    }
}

/// Bytes that were written and have not left; 0 where nobody knows.
pub(super) fn unsent(socket: Socket) -> u32 {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the kernel writes one `c_int` to `bytes` during the call.
    let result = unsafe { libc::ioctl(socket.0, libc::TIOCOUTQ, &raw mut bytes) };
    if result == 0 { u32::try_from(bytes).unwrap_or(0) } else { 0 }
}

/// What the driver has counted; nothing if it does not count, as a pseudo terminal's.
pub(super) fn errors(socket: Socket) -> TtyErrors {
    // `struct serial_icounter_struct`: cts, dsr, rng, dcd, rx, tx, frame, overrun, parity, brk, buf_overrun, nine reserved.
    let mut counts: [libc::c_int; 20] = [0; 20];
    // SAFETY: the kernel writes twenty `c_int` to `counts` during the call.
    let result = unsafe { libc::ioctl(socket.0, libc::TIOCGICOUNT, counts.as_mut_ptr()) };
    let [.., framing, overrun, parity, breaks, no_room, _, _, _, _, _, _, _, _, _] = counts.map(|count| count as u32);
    let errors = TtyErrors { framing, overrun: overrun.wrapping_add(no_room), parity, breaks };
    if result == 0 { errors } else { TtyErrors::default() }
}

/// The library says of a port that somebody else has that there is none.
fn explain(error: serialport::Error) -> io::Error {
    if error.kind == serialport::ErrorKind::NoDevice {
        return io::Error::new(io::ErrorKind::ResourceBusy, error.description);
    }
    error.into()
}

fn open(tty: &TtyOptions) -> io::Result<OwnedFd> {
    let parity = match tty.parity {
        Parity::None => serialport::Parity::None,
        Parity::Even => serialport::Parity::Even,
        Parity::Odd => serialport::Parity::Odd,
    };
    let flow = match tty.flow {
        Flow::None => FlowControl::None,
        Flow::Hardware => FlowControl::Hardware,
    };
    let mut port = serialport::new(tty.path.to_string_lossy(), tty.baud)
        .data_bits(DataBits::Eight)
        .stop_bits(StopBits::One)
        .parity(parity)
        .flow_control(flow)
        .open_native()
        .map_err(explain)?;
    // What has no such lines refuses; a device that needs them will not answer, and its port's log line says how it is set.
    let mut lines = |dtr: bool, rts: bool| {
        let _ = port.write_data_terminal_ready(dtr);
        let _ = port.write_request_to_send(rts);
    };
    match tty.dtr {
        Modem::None => {}
        Modem::Dtr => lines(true, false),
        Modem::Both => lines(true, true),
        Modem::ResetPulse => {
            lines(false, true);
            std::thread::sleep(RESET_PULSE);
            lines(true, true);
        }
    }
    // SAFETY: the port has just given this descriptor up, and nobody else knows it.
    let descriptor = unsafe { OwnedFd::from_raw_fd(port.into_raw_fd()) };
    // A board is not to be reset because the broker ends.
    if let Ok(mut set) = termios::tcgetattr(&descriptor)
        && set.control_flags.contains(ControlFlags::HUPCL)
    {
        set.control_flags.remove(ControlFlags::HUPCL);
        let _ = termios::tcsetattr(&descriptor, SetArg::TCSANOW, &set);
    }
    let _ = termios::tcflush(&descriptor, FlushArg::TCIOFLUSH);
    // The ring must not wait inside a write.
    fcntl(&descriptor, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(descriptor)
}
