//! Where frames begin and end on a medium. Streams (TCP, Unix) use the length in the frame header itself.

pub mod length;
pub mod pack;
pub mod run;
