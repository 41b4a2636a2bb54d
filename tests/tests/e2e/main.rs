//! Real brokers, clients and the command line, as processes of their own, over real sockets.
//!
//! One program for all of them, because each program more is half a minute of compiling. What has to have the machine for
//! itself is beside it: `e2e_fair`, `e2e_idle`.

mod admission;
mod beside;
mod broadcast;
mod churn;
mod command_line;
mod confirmed;
mod credit;
mod drain;
mod first_run;
mod hostile_bytes;
mod hostile_connections;
mod hostile_timing;
mod lanes;
mod large;
mod levels;
mod limits;
mod namespaces;
mod opaque;
mod packing;
mod peers;
mod pending;
mod real_input;
mod resume;
mod retained;
mod slow_reader;
mod soak;
mod socket_options;
mod startup;
mod stats;
mod udp;
mod will;
