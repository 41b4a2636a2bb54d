//! CRC-32 of IEEE 802.3, continued from a preset. A table of 64 bytes: four bits at a time.

const TABLE: [u32; 16] = table();

const fn table() -> [u32; 16] {
    let mut table = [0; 16];
    let mut index = 0;
    while index < 16 {
        let (mut value, mut bit) = (index as u32, 0);
        while bit < 4 {
            value = if value & 1 == 1 { value >> 1 ^ 0xEDB8_8320 } else { value >> 1 };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
}

/// The CRC of `bytes` behind something whose CRC is `preset`.
#[inline(never)]
pub(crate) fn crc32(preset: u32, bytes: &[u8]) -> u32 {
    let mut register = !preset;
    for byte in bytes {
        register ^= u32::from(*byte);
        register = register >> 4 ^ TABLE[(register & 15) as usize];
        register = register >> 4 ^ TABLE[(register & 15) as usize];
    }
    !register
}

/// The preset of a session: no frame of another one passes its check.
pub(crate) fn session_preset(host: u32, device: u32) -> u32 {
    crc32(crc32(0, &host.to_le_bytes()), &device.to_le_bytes())
}
