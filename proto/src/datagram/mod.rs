//! Datagram links: lanes over UDP, to one peer or to all. `docs/UDP.md` is the specification.
//!
//! | module | what it decides |
//! | --- | --- |
//! | [`limits`] | every bound of datagram links |
//! | [`header`], [`crc`] | the 16 bytes in front of the frames, and the four behind |
//! | [`ack`], [`nak`], [`heartbeat`], [`loss`], [`signs`] | bodies of the frames that only datagram links have |
//! | [`received`] | which datagrams arrived |
//! | [`interest`], [`filter`] | what a broadcast is about, and who rejects it in the kernel |

pub mod ack;
pub mod crc;
pub mod filter;
pub mod header;
pub mod heartbeat;
pub mod interest;
pub mod limits;
pub mod loss;
pub mod nak;
pub mod received;
pub mod signs;
