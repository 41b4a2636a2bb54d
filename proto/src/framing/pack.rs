//! Packing: a run of plain frames rewritten as BATCH frames, where it lies.
//!
//! A message of a BATCH has 2 bytes in front of it instead of a header, so what many subscribers get is shorter by a
//! header a message for the price of one pass over the run.

use crate::frame::batch::{self, BATCH_ITEM_PREFIX_BYTES, BATCH_PREFIX_BYTES};
use crate::header::{Header, Kind};
use crate::limits::HEADER_BYTES;

/// Bytes of a BATCH that packing makes, at most: what stands between an urgent frame and the link, so a few.
pub const PACKED_FRAME_BYTES_MAX: usize = 4 * 1024;
/// Bytes of a message that is packed, at most: of a longer one the header is too small a part.
pub const PACKED_MESSAGE_BYTES_MAX: usize = 256;
/// Bytes in front of the first message of a BATCH.
const HEAD_BYTES: usize = HEADER_BYTES + BATCH_PREFIX_BYTES;

/// What became of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packed {
    /// Where the frames begin; what is in front of them is of no use any more. They end where the run ended.
    pub start: usize,
    /// How many they are.
    pub frames: u32,
}

/// Rewrites a run of PUB frames without extensions as BATCH frames. `None`, and nothing is changed, if they are not all of
/// one length, topic, lane and key with numbers that follow each other, too long, or too few to make it shorter.
pub fn pack(run: &mut [u8]) -> Option<Packed> {
    let first = Header::decode(run.first_chunk()?).ok()?;
    let frame_bytes = usize::from(first.len);
    let payload_bytes = frame_bytes.checked_sub(HEADER_BYTES)?;
    let count = run.len() / frame_bytes;
    let plain = first.kind == Kind::PUB && first.flags.0 == 0 && first.seq != 0;
    if !plain || payload_bytes > PACKED_MESSAGE_BYTES_MAX || count * frame_bytes != run.len() || !follow(run, &first) {
        return None;
    }
    let item_bytes = BATCH_ITEM_PREFIX_BYTES + payload_bytes;
    let group = ((PACKED_FRAME_BYTES_MAX - HEAD_BYTES) / item_bytes).min(count);
    let frames = count.div_ceil(group);
    if frames * HEAD_BYTES + count * item_bytes >= run.len() {
        return None;
    }
    // From the end, so that nothing is written over before it was read; what is not a full frame comes first.
    let (mut left, mut end) = (count, run.len());
    while left > 0 {
        let members = left.min(group);
        for place in (left - members..left).rev() {
            let from = place * frame_bytes + HEADER_BYTES;
            end -= payload_bytes;
            run.copy_within(from..from + payload_bytes, end);
            end -= BATCH_ITEM_PREFIX_BYTES;
            run[end..end + BATCH_ITEM_PREFIX_BYTES].copy_from_slice(&(payload_bytes as u16).to_le_bytes());
        }
        left -= members;
        let plan = Header::new(Kind::BATCH, BATCH_PREFIX_BYTES + members * item_bytes);
        let head = Header { len: plan.len, kind: plan.kind, seq: first.seq + left as u32, ..first };
        end -= HEAD_BYTES;
        run[end..end + HEADER_BYTES].copy_from_slice(&head.encode());
        run[end + HEADER_BYTES..end + HEAD_BYTES].copy_from_slice(&batch::prefix(members as u16));
    }
    Some(Packed { start: end, frames: frames as u32 })
}

/// Whether all frames have the first one's length, kind, flags, topic, lane, hops and key, and the numbers that follow its.
fn follow(run: &[u8], first: &Header) -> bool {
    let head = first.encode();
    run.chunks_exact(usize::from(first.len)).zip(0u32..).all(|(frame, place)| {
        let seq = first.seq.checked_add(place).map(u32::to_le_bytes);
        frame[..HEADER_BYTES - 4] == head[..HEADER_BYTES - 4]
            && seq.is_some_and(|seq| frame[HEADER_BYTES - 4..HEADER_BYTES] == seq)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::batch::Messages;
    use alloc::vec::Vec;

    fn run(payloads: &[&[u8]], seq: u32) -> Vec<u8> {
        let frame = |(payload, seq): (&&[u8], u32)| {
            let header = Header { topic: 0x102, lane: 4, ckey: 9, seq, ..Header::new(Kind::PUB, payload.len()) };
            [&header.encode()[..], payload].concat()
        };
        payloads.iter().zip(seq..).flat_map(frame).collect()
    }

    /// Numbers and messages of BATCH frames, and the frames' lengths.
    fn unpack(mut bytes: &[u8]) -> (Vec<(u32, Vec<u8>)>, Vec<usize>) {
        let (mut messages, mut lens) = (Vec::new(), Vec::new());
        while let Some(head) = bytes.first_chunk() {
            let header = Header::decode(head).expect("a header");
            assert_eq!((header.kind, header.topic, header.lane, header.ckey), (Kind::BATCH, 0x102, 4, 9));
            let (frame, rest) = bytes.split_at(usize::from(header.len));
            let body = Messages::new(&frame[HEADER_BYTES..]).expect("a batch");
            messages.extend((header.seq..).zip(body).map(|(seq, message)| (seq, message.expect("whole").to_vec())));
            lens.push(frame.len());
            bytes = rest;
        }
        (messages, lens)
    }

    #[test]
    fn three_messages_become_one_frame_at_the_end() {
        let mut bytes = run(&[b"one", b"two", b"six"], 7);
        assert_eq!(pack(&mut bytes), Some(Packed { start: 22, frames: 1 }));
        let golden = [
            &[35, 0, 5, 0, 2, 1, 0, 0, 4, 0, 9, 0, 7, 0, 0, 0, 3, 0, 0, 0][..], // 35 bytes, BATCH, number 7, 3 messages
            &[3, 0, b'o', b'n', b'e', 3, 0, b't', b'w', b'o', 3, 0, b's', b'i', b'x'],
        ];
        assert_eq!(bytes[22..], golden.concat());
    }

    #[test]
    fn every_length_and_count_comes_out_as_it_went_in() {
        for payload_bytes in [0, 1, 2, 13, 63, 64, 255, 256] {
            for count in (2..70).chain([255, 256, 257, 1_000]) {
                let payloads: Vec<Vec<u8>> =
                    (0..count).map(|place| (0..payload_bytes).map(|byte| (place * 7 + byte) as u8).collect()).collect();
                let borrowed: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
                let mut bytes = run(&borrowed, 5);
                let packed = pack(&mut bytes).expect("shorter");
                let (messages, lens) = unpack(&bytes[packed.start..]);
                assert_eq!(messages, (5..).zip(payloads).collect::<Vec<_>>(), "{count} of {payload_bytes} bytes");
                assert_eq!(lens.len(), packed.frames as usize);
                assert!(lens.iter().all(|&len| len <= PACKED_FRAME_BYTES_MAX), "{lens:?}");
            }
        }
    }

    #[test]
    fn what_is_not_alike_stays_as_it_is() {
        let two = |second: fn(&mut [u8])| {
            let mut bytes = run(&[b"one", b"two"], 1);
            second(&mut bytes[19..]);
            bytes
        };
        let long = [0; PACKED_MESSAGE_BYTES_MAX + 1];
        for (why, mut bytes) in [
            ("nothing", Vec::new()),
            ("a single message", run(&[b"one"], 1)),
            ("unnumbered", run(&[b"one", b"two"], 0)),
            (
                "numbers that begin anew",
                [&[19, 0, 1, 0, 2, 1, 0, 0, 4, 0, 9, 0, 255, 255, 255, 255][..], b"one", &run(&[b"two"], 1)].concat(),
            ),
            ("another number", two(|frame| frame[12] = 9)),
            ("another key", two(|frame| frame[10] = 8)),
            ("another lane", two(|frame| frame[8] = 5)),
            ("an extension", two(|frame| frame[3] = 1)),
            ("another topic", two(|frame| frame[4] = 0)),
            ("another length", run(&[b"one", b"four"], 1)),
            ("long messages", run(&[&long, &long], 1)),
        ] {
            let before = bytes.clone();
            assert_eq!((pack(&mut bytes), bytes), (None, before), "{why}");
        }
    }
}
