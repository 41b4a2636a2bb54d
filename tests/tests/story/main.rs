//! Stories in the simulator: the broker that runs in production, a network of a seed, and an oracle that hears everything.

mod backpressure;
mod bad_input;
mod churn;
mod confirmed;
mod connections;
mod credit;
mod determinism;
mod injection;
mod matrix;
mod network;
mod overload;
mod presence;
mod rates;
mod resume;
mod retained;
mod scale;
mod stats;
mod timeouts;
mod udp;
