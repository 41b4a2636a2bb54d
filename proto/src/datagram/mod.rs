//! Datagram links: lanes over UDP, to one peer or to all. `docs/UDP.md` is the specification.
//!
//! | module | what it decides |
//! | --- | --- |
//! | [`limits`] | every bound of datagram links |
//! | [`header`], [`crc`] | the 16 bytes in front of the frames, and the four behind |
//! | [`ack`], [`nak`], [`heartbeat`], [`loss`], [`signs`] | bodies of the frames that only datagram links have |
//! | [`received`], [`rtt`], [`pace`] | which datagrams arrived, how long a round trip takes, how fast to send |
//! | [`sent`], [`outbound`] | which datagrams are under way, and which frames are sent again |
//! | [`session`] | one side of one session: handshake, what a datagram means, what the next one carries |
//! | `stream` | a session for those who speak in a stream of frames (feature `control`) |
//! | `broadcast` | one to all, for those who speak in a stream of frames (feature `control`) |
//! | [`interest`], [`filter`] | what a broadcast is about, and who rejects it in the kernel |

pub mod ack;
#[cfg(feature = "control")]
pub mod broadcast;
pub mod crc;
pub mod filter;
pub mod header;
pub mod heartbeat;
pub mod interest;
pub mod limits;
pub mod loss;
pub mod nak;
pub mod outbound;
pub mod pace;
pub mod received;
pub mod rtt;
pub mod sent;
pub mod session;
pub mod signs;
#[cfg(feature = "control")]
pub mod stream;
