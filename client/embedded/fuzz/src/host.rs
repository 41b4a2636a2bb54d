//! Somebody who knows how frames are made, and puts anything into them.

use crate::Input;

const NONCE: u32 = 0x1122_3344;

pub(crate) fn crc32(preset: u32, bytes: &[u8]) -> u32 {
    let mut register = !preset;
    for byte in bytes {
        register ^= u32::from(*byte);
        for _ in 0..8 {
            register = if register & 1 == 1 { register >> 1 ^ 0xEDB8_8320 } else { register >> 1 };
        }
    }
    !register
}

fn encode(frame: &[u8]) -> Vec<u8> {
    let mut wire = vec![0];
    for run in frame.split(|byte| *byte == 0) {
        let mut rest = run;
        loop {
            let (now, later) = rest.split_at(rest.len().min(254));
            wire.push(now.len() as u8 + 1);
            wire.extend_from_slice(now);
            rest = later;
            if now.len() < 254 || rest.is_empty() {
                break;
            }
        }
    }
    wire.push(0);
    wire
}

fn decode(wire: &[u8]) -> Option<Vec<u8>> {
    let (mut frame, mut rest) = (Vec::new(), wire);
    while let Some((code, behind)) = rest.split_first() {
        let (run, behind) = behind.split_at_checked(usize::from(*code) - 1)?;
        frame.extend_from_slice(run);
        rest = behind;
        if *code != 0xFF && !rest.is_empty() {
            frame.push(0);
        }
    }
    Some(frame)
}

pub(crate) struct Host {
    device: u32,
    heard: Vec<u8>,
}

impl Host {
    pub(crate) const fn new() -> Self {
        Self { device: 0xA1B2_C3D4, heard: Vec::new() }
    }

    /// What the device says is frames, whole and right; its HELLO says its nonce.
    pub(crate) fn hear(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte != 0 {
                self.heard.push(*byte);
                continue;
            }
            let wire = std::mem::take(&mut self.heard);
            if wire.is_empty() {
                continue;
            }
            let frame = decode(&wire).expect("COBS");
            let (body, crc) = frame.split_last_chunk().expect("a CRC");
            assert!((5..=128).contains(&body.len()), "{} bytes", body.len());
            if body[0] == 0xE0 {
                assert_eq!(crc32(0, body), u32::from_le_bytes(*crc), "{body:02x?}");
                if body[5] == 1 {
                    self.device = u32::from_le_bytes([body[9], body[10], body[11], body[12]]);
                }
            }
        }
    }

    /// A frame with a good CRC, of anything.
    pub(crate) fn say(&mut self, input: &mut Input<'_>) -> Vec<u8> {
        let (what, count) = (input.byte(), usize::from(input.byte()) % 130);
        let [host, device] = [NONCE.to_le_bytes(), self.device.to_le_bytes()];
        let mut preset = crc32(0, &[host, device].concat());
        let mut body = match what % 4 {
            0 => {
                let mut hello = vec![0xE0, 0, 0, 0, 0, 1, 1, 1, 1];
                hello.extend(host);
                hello.extend([1, 2, 3, 4, 5, 6, 7, 8, 96, 0, 0xDC, 5, 0, 0, 0, 0, 0, 0, 0, 0, 4]);
                hello.extend([0x38, 4, 0, 4, 0, 0, 0x31 | what >> 4 & 8, 4, 0, 0, what, 0]);
                hello.extend([0x22, 2, 0, 0, 0, 0, 0x13, 1, 0, 0, 0, 0, 0]);
                hello
            }
            1 => [&[0xE0, 0, 0, 0, 0, 2][..], &device, &host, &[0]].concat(),
            _ => vec![what, input.byte(), 0, input.byte(), if what & 0x80 == 0 { 0x40 } else { 0 }],
        };
        if what % 4 > 1 || what & 0x10 != 0 {
            body.extend_from_slice(input.bytes(count));
        }
        if body[0] >= 0xE0 {
            preset = 0;
        }
        body.extend(crc32(preset, &body).to_le_bytes());
        encode(&body)
    }
}
