//! Seeded inputs, for where there is no fuzzer.

#[test]
fn nothing_that_arrives_takes_the_rust_library_out_of_its_bounds() {
    const SEED: u64 = 9;
    println!("seed {SEED}");
    let mut state = 0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(SEED | 1);
    let mut opened = 0;
    for _ in 0..20_000 {
        let mut input = Vec::new();
        while input.len() < 2_048 && (input.is_empty() || state >> 40 & 0x3FF != 0) {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            input.push((state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 56) as u8);
        }
        opened += u32::from(laneway_embedded_fuzz::check(&input));
    }
    assert!(opened > 100, "{opened} sessions: the inputs are good enough to get somewhere");
}

/// Inputs that a fuzzer has found, in hexadecimal.
const FOUND: [(&str, &str); 1] = [(
    "a message that the frame has room for, and HELLO has not",
    "2b00020202fa0100ffffffff09ffffffff2b00020000f30909ffffffffffffff02020200ffffffff09000000000000000000\
     002f01020200ff23ffffffffffff290200ffffffff2b00020000f30909ffffffff0400000000000000ffffff02020200ffff\
     ffff09000000000000000000002f01020200ffffffffffffff",
)];

#[test]
fn what_a_fuzzer_has_found_stays_mended() {
    for (what, text) in FOUND {
        println!("{what}");
        let digits: Vec<u8> = text.chars().map(|digit| digit.to_digit(16).expect("hexadecimal") as u8).collect();
        let input: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
        laneway_embedded_fuzz::check(&input);
    }
}
