//! Cutting and assembling, with a list of every fragment seen.

use laneway_proto::error::PeerFault;
use laneway_proto::frame::extensions::Frag;
use laneway_proto::frame::fragment::{Assembly, Cutter, Progress};

/// Compares the cutter with the definition: equal fragments, a shorter rest, every byte once. Feeds what was cut to an
/// [`Assembly`], which has to complete with the last fragment and not before.
///
/// # Panics
/// If they disagree.
pub fn compare_cut(total_len: u32, fragment_bytes: u32) {
    let fits_one = total_len <= fragment_bytes;
    let count = if fragment_bytes == 0 { u32::MAX } else { total_len.div_ceil(fragment_bytes) };
    let Some(cutter) = Cutter::new(total_len, fragment_bytes) else {
        return assert!(fits_one || count > 65_535, "{total_len} bytes by {fragment_bytes} can be cut");
    };
    assert!(!fits_one && count <= 65_535, "{total_len} bytes by {fragment_bytes} may not be cut");
    let mut end = 0;
    let mut assembly: Option<Assembly> = None;
    for (place, (frag, range)) in cutter.enumerate() {
        let last = place + 1 == count as usize;
        assert_eq!((usize::from(frag.index), u32::from(frag.count), frag.total_len), (place, count, total_len));
        assert_eq!(range.start, end, "fragments touch");
        assert!(range.len() == fragment_bytes as usize || last, "fragment {place} of {count} is full");
        assert!(!range.is_empty(), "fragment {place} of {count} carries something");
        end = range.end;
        let progress = match &mut assembly {
            None => Assembly::start(frag, range.len(), total_len).map(|started| {
                assembly = Some(started);
                Progress::Partial
            }),
            Some(assembly) => assembly.on_fragment(frag, range.len()),
        };
        assert_eq!(progress, Ok(if last { Progress::Complete } else { Progress::Partial }), "fragment {place}");
    }
    assert_eq!(end, total_len as usize, "every byte is in a fragment");
}

/// A receiver that remembers every fragment of the message it is assembling.
#[derive(Debug, Default)]
pub struct Receiver {
    message: Option<(Assembly, Vec<(Frag, usize)>)>,
}

impl Receiver {
    /// Offers a fragment to the crate and to the model: the first one starts a message, the others continue it.
    ///
    /// # Panics
    /// If the crate's answer is not the model's.
    pub fn offer(&mut self, frag: Frag, payload_bytes: usize, message_bytes_max: u32) {
        let Some((mut assembly, mut seen)) = self.message.take() else {
            let started = Assembly::start(frag, payload_bytes, message_bytes_max);
            let expected = if frag.index != 0 {
                Err(PeerFault::FragmentInvalid)
            } else if frag.total_len > message_bytes_max {
                Err(PeerFault::MessageTooLarge)
            } else if !(1..=u64::from(frag.total_len)).contains(&(payload_bytes as u64)) {
                Err(PeerFault::FragmentInvalid)
            } else {
                Ok(payload_bytes)
            };
            assert_eq!(started.map(|assembly| assembly.received() as usize), expected, "{frag:?} + {payload_bytes}");
            self.message = started.ok().map(|assembly| (assembly, vec![(frag, payload_bytes)]));
            return;
        };
        let progress = assembly.on_fragment(frag, payload_bytes);
        seen.push((frag, payload_bytes));
        assert_eq!(progress, verdict(&seen), "after {seen:?}");
        if progress == Ok(Progress::Partial) {
            self.message = Some((assembly, seen));
        }
    }
}

/// What a message's last fragment means, all before it having been taken.
fn verdict(seen: &[(Frag, usize)]) -> Result<Progress, PeerFault> {
    let (first, _) = seen[0];
    let numbered = seen.iter().enumerate().all(|(place, (frag, _))| *frag == Frag { index: place as u16, ..first });
    let filled = seen.iter().all(|(_, bytes)| *bytes > 0);
    let received: u64 = seen.iter().map(|(_, bytes)| *bytes as u64).sum();
    let total = u64::from(first.total_len);
    let all = seen.len() == usize::from(first.count);
    match (numbered && filled, all) {
        (true, true) if received == total => Ok(Progress::Complete),
        (true, false) if received < total => Ok(Progress::Partial),
        _ => Err(PeerFault::FragmentInvalid),
    }
}
