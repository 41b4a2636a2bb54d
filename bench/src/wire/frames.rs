//! Cuts a stream of Laneway frames of any kind, for receivers that cannot know what comes next.

use laneway_proto::header::Header;
use laneway_proto::limits::HEADER_BYTES;

use super::Fault;

/// Bytes of a frame's front that are shown; of small frames that is everything.
const HEAD_BYTES_MAX: usize = 1_024;

/// A cutter; it keeps no more than the front of one frame.
#[derive(Debug, Default)]
pub struct Frames {
    /// The front of a frame that goes on in the next bytes.
    head: Vec<u8>,
    /// Bytes of it so far.
    seen: usize,
}

impl Frames {
    /// Calls `each` with the header and the front, header included, of every frame that is complete now.
    pub fn on_bytes(
        &mut self,
        mut bytes: &[u8],
        each: &mut impl FnMut(&Header, &[u8]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        while !bytes.is_empty() {
            if self.seen == 0
                && let Some(front) = bytes.first_chunk()
            {
                let header = decode(front)?;
                if let Some((frame, rest)) = bytes.split_at_checked(usize::from(header.len)) {
                    each(&header, &frame[..frame.len().min(HEAD_BYTES_MAX)])?;
                    bytes = rest;
                    continue;
                }
            }
            bytes = self.keep(bytes, each)?;
        }
        Ok(())
    }

    /// Goes on with a frame that did not come in one piece; returns what is behind it.
    fn keep<'a>(
        &mut self,
        bytes: &'a [u8],
        each: &mut impl FnMut(&Header, &[u8]) -> Result<(), Fault>,
    ) -> Result<&'a [u8], Fault> {
        let header = match self.head.first_chunk() {
            Some(front) => Some(decode(front)?),
            None => None,
        };
        let end = header.map_or(HEADER_BYTES, |header| usize::from(header.len));
        let (part, rest) = bytes.split_at(bytes.len().min(end - self.seen));
        let kept = part.len().min(HEAD_BYTES_MAX.saturating_sub(self.head.len()));
        self.head.extend_from_slice(&part[..kept]);
        self.seen += part.len();
        let header = match (header, self.head.first_chunk()) {
            (None, Some(front)) => Some(decode(front)?),
            (header, _) => header,
        };
        if let Some(header) = header
            && self.seen == usize::from(header.len)
        {
            each(&header, &self.head)?;
            self.head.clear();
            self.seen = 0;
        }
        Ok(rest)
    }
}

fn decode(front: &[u8; HEADER_BYTES]) -> Result<Header, Fault> {
    Header::decode(front).map_err(|error| Fault(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use laneway_proto::header::Kind;

    #[test]
    fn frames_are_the_same_however_the_stream_is_cut() {
        let sizes = [0, 1, 16, 70, 5_000];
        let mut stream = Vec::new();
        for size in sizes {
            stream.extend_from_slice(&Header::new(Kind::PUB, size).encode());
            stream.resize(stream.len() + size, size as u8);
        }
        for step in [1, 7, 15, 16, 17, 100, stream.len()] {
            let mut seen = Vec::new();
            let mut frames = Frames::default();
            for part in stream.chunks(step) {
                let mut each = |header: &Header, front: &[u8]| {
                    assert!(front.len() == usize::from(header.len).min(HEAD_BYTES_MAX));
                    assert!(front[HEADER_BYTES..].iter().all(|&byte| byte == header.body_bytes() as u8));
                    seen.push(header.body_bytes());
                    Ok(())
                };
                frames.on_bytes(part, &mut each).expect("good");
            }
            assert_eq!(seen, sizes, "in steps of {step}");
        }
    }

    #[test]
    fn a_length_that_cannot_be_true_is_a_fault() {
        let mut each = |_: &Header, _: &[u8]| Ok(());
        assert!(Frames::default().on_bytes(&[0; 16], &mut each).is_err());
        let mut frames = Frames::default();
        assert!(frames.on_bytes(&[0; 9], &mut each).is_ok());
        assert!(frames.on_bytes(&[0; 9], &mut each).is_err());
    }
}
