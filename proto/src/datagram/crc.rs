//! CRC-32C (Castagnoli): reflected polynomial 0x82F63B78, preset and final inversion all ones.

const POLYNOMIAL: u32 = 0x82F6_3B78;

/// `TABLES[k][byte]`: what `byte` does to the register when `k` bytes of zeros follow it.
static TABLES: [[u32; 256]; 4] = tables();

const fn tables() -> [[u32; 256]; 4] {
    let mut tables = [[0; 256]; 4];
    let mut byte = 0;
    while byte < 256 {
        let mut register = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            register = if register & 1 != 0 { register >> 1 ^ POLYNOMIAL } else { register >> 1 };
            bit += 1;
        }
        tables[0][byte] = register;
        byte += 1;
    }
    let mut zeros = 1;
    while zeros < 4 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[zeros - 1][byte];
            tables[zeros][byte] = before >> 8 ^ tables[0][(before & 0xFF) as usize];
            byte += 1;
        }
        zeros += 1;
    }
    tables
}

/// The CRC-32C of `bytes`; of `123456789` it is 0xE3069283.
pub fn crc32c(bytes: &[u8]) -> u32 {
    let mut register = u32::MAX;
    let mut words = bytes.chunks_exact(4);
    for word in &mut words {
        let [b0, b1, b2, b3] = *word else { continue };
        let [r0, r1, r2, r3] = (register ^ u32::from_le_bytes([b0, b1, b2, b3])).to_le_bytes();
        let part = |table: usize, byte: u8| TABLES[table][usize::from(byte)];
        register = part(3, r0) ^ part(2, r1) ^ part(1, r2) ^ part(0, r3);
    }
    for &byte in words.remainder() {
        register = register >> 8 ^ TABLES[0][usize::from(register as u8 ^ byte)];
    }
    !register
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_answers_of_castagnoli() {
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
        // RFC 3720, B.4.
        assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA);
        assert_eq!(crc32c(&[0xFF; 32]), 0x62A8_AB43);
        let counting: [u8; 32] = core::array::from_fn(|at| at as u8);
        assert_eq!(crc32c(&counting), 0x46DD_794E);
        assert_eq!((crc32c(b""), crc32c(b"a")), (0, 0xC1D0_4330));
    }
}
