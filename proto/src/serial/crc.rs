//! CRC-32 of IEEE 802.3, sixteen table entries, half a byte at a time: 64 bytes of flash and about 8 instructions a byte.

/// What half a byte does to the register.
const NIBBLES: [u32; 16] = {
    let mut table = [0; 16];
    let mut nibble = 0;
    while nibble < 16 {
        let mut register = nibble as u32;
        let mut bit = 0;
        while bit < 4 {
            register = register >> 1 ^ (0xEDB8_8320 & (register & 1).wrapping_neg());
            bit += 1;
        }
        table[nibble] = register;
        nibble += 1;
    }
    table
};

/// A CRC under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Crc32 {
    register: u32,
}

impl Crc32 {
    /// A CRC that goes on where another one ended; 0: from the beginning.
    pub const fn continued(preset: u32) -> Self {
        Self { register: !preset }
    }

    /// Takes one more byte.
    pub const fn push(&mut self, byte: u8) {
        let register = self.register ^ byte as u32;
        let register = register >> 4 ^ NIBBLES[(register & 15) as usize];
        self.register = register >> 4 ^ NIBBLES[(register & 15) as usize];
    }

    /// The CRC of everything so far.
    pub const fn value(self) -> u32 {
        !self.register
    }
}

/// The CRC of `bytes`, continued from `preset`.
pub fn crc32(preset: u32, bytes: &[u8]) -> u32 {
    let mut crc = Crc32::continued(preset);
    bytes.iter().for_each(|&byte| crc.push(byte));
    crc.value()
}

/// What the frames of a session are checked with: the CRC of both nonces.
pub fn session_preset(host_nonce: u32, device_nonce: u32) -> u32 {
    crc32(crc32(0, &host_nonce.to_le_bytes()), &device_nonce.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_crc_everybody_else_computes() {
        assert_eq!(crc32(0, b"123456789"), 0xCBF4_3926);
        assert_eq!(crc32(crc32(0, b"1234"), b"56789"), 0xCBF4_3926, "continued");
        assert_eq!(session_preset(0x1122_3344, 0xA1B2_C3D4), 0x0B67_EF2D);
    }
}
