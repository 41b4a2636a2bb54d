//! CREDIT, COUNT, CONFIRM and LOST, by offsets; written back, each gives the bytes it was read from.

use laneway_proto::error::DecodeError;
use laneway_proto::frame::confirm::{self, Confirm};
use laneway_proto::frame::lost::Lost;
use laneway_proto::frame::totals::LaneTotal;
use laneway_proto::frame::{count, credit};
use laneway_proto::header::{Header, Kind};

/// The entries of a body, of `entry_bytes` each, behind their number and three zeros.
fn entries(body: &[u8], entry_bytes: usize) -> Result<Vec<&[u8]>, DecodeError> {
    if body.len() < 4 {
        return Err(DecodeError::BodyTruncated);
    }
    let (count, zeros) = (usize::from(body[0]), &body[1..4]);
    let wanted = 4 + count * entry_bytes;
    match () {
        () if !(1..=15).contains(&count) || zeros != [0; 3] || body.len() > wanted => Err(DecodeError::BodyMalformed),
        () if body.len() < wanted => Err(DecodeError::BodyTruncated),
        () => Ok(body[4..].chunks(entry_bytes).collect()),
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    (0..4).map(|place| u32::from(bytes[at + place]) << (8 * place)).sum()
}

fn totals(body: &[u8]) -> Result<Vec<LaneTotal>, DecodeError> {
    let mut totals: Vec<LaneTotal> = Vec::new();
    for entry in entries(body, 12)? {
        let lane = entry[0];
        let known = totals.iter().any(|total| total.lane == lane);
        if !(1..=15).contains(&lane) || known || entry[1..4] != [0; 3] {
            return Err(DecodeError::BodyMalformed);
        }
        totals.push(LaneTotal { lane, total: u64::from(u32_at(entry, 8)) << 32 | u64::from(u32_at(entry, 4)) });
    }
    Ok(totals)
}

/// Compares what the crate reads from the body of a CREDIT.
///
/// # Panics
/// If the two differ.
pub fn compare_credit(body: &[u8]) {
    let read = credit::decode(body).map(Iterator::collect::<Vec<_>>);
    assert_eq!(read, totals(body));
    if let Ok(totals) = read {
        assert_eq!(credit::encode(&totals, &mut [0xAA; credit::CREDIT_FRAME_BYTES_MAX])[16..], *body);
    }
}

/// The same for a COUNT.
///
/// # Panics
/// If the two differ.
pub fn compare_count(body: &[u8]) {
    let read = count::decode(body).map(Iterator::collect::<Vec<_>>);
    assert_eq!(read, totals(body));
    if let Ok(totals) = read {
        assert_eq!(count::encode(&totals, &mut [0xAA; count::COUNT_FRAME_BYTES_MAX])[16..], *body);
    }
}

/// The same for a CONFIRM.
///
/// # Panics
/// If the two differ.
pub fn compare_confirm(body: &[u8]) {
    let read = confirm::decode(body).map(Iterator::collect::<Vec<Confirm>>);
    let fields = entries(body, 8).and_then(|entries| {
        let mut fields: Vec<(u8, u8, u16, u32)> = Vec::new();
        for entry in entries {
            let (lane, level, seq_through) = (entry[0], entry[1], u32_at(entry, 4));
            let known = fields.iter().any(|field| (field.0, field.1) == (lane, level));
            if !(1..=15).contains(&lane) || !(1..=2).contains(&level) || seq_through == 0 || known {
                return Err(DecodeError::BodyMalformed);
            }
            fields.push((lane, level, u16::from(entry[2]) | u16::from(entry[3]) << 8, seq_through));
        }
        Ok(fields)
    });
    let plain = |confirm: &Confirm| (confirm.lane, confirm.level.number(), confirm.receivers, confirm.seq_through);
    assert_eq!(read.as_ref().map(|read| read.iter().map(plain).collect()), fields.as_ref().cloned());
    if let Ok(confirms) = read {
        assert_eq!(confirm::encode(&confirms, &mut [0xAA; confirm::CONFIRM_FRAME_BYTES_MAX])[16..], *body);
    }
}

/// The same for a LOST that travels on `lane` and names `topic`.
///
/// # Panics
/// If the two differ.
pub fn compare_lost(topic: u32, lane: u8, body: &[u8]) {
    let header = Header { topic, lane, ..Header::new(Kind::LOST, 12) };
    let read = Lost::decode(&header, body);
    let sound = body.len() == 12
        && body[0] == lane
        && (1..=10).contains(&body[1])
        && body[2..4] == [0; 2]
        && body[8..12] != [0; 4];
    match read {
        Ok(lost) => {
            assert!(sound, "{body:02x?} on lane {lane} is no LOST: {lost:?}");
            assert_eq!((lost.topic, lost.lane, lost.reason.number()), (topic, lane, body[1]));
            assert_eq!((lost.first, lost.count), (u32_at(body, 4), u32_at(body, 8)));
            if lane > 0 {
                assert_eq!(lost.encode()[..16], header.encode());
                assert_eq!(lost.encode()[16..], *body);
            }
        }
        Err(DecodeError::BodyTruncated) => assert!(body.len() < 12),
        Err(error) => assert!(!sound && body.len() >= 12, "{body:02x?}: {error}"),
    }
}
