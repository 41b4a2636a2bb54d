//! A million filters and names against the naive matcher, drawn to look alike. `LANEWAY_SEED=N` draws others.

#[path = "model/topic.rs"]
pub mod topic;

const PAIRS: usize = 1_000_000;
const SEED: u64 = 0x1A4E_2026;

/// Marsaglia's xorshift: a million draws cost nothing, and a seed is a whole run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % bound
    }

    fn level(&mut self) -> &'static str {
        ["a", "b", "", "ab", "$", "$sys", "ü", "aa"][self.below(8)]
    }
}

/// Up to five levels; one draw in five is spoiled to be no valid name.
fn draw_name(random: &mut Random, name: &mut String) {
    name.clear();
    let levels = random.below(5) + 1;
    for place in 0..levels {
        let level = if random.below(20) == 0 { ["+", "#", "a+", "\0"][random.below(4)] } else { random.level() };
        name.push_str(if place == 0 { "" } else { "/" });
        name.push_str(level);
    }
}

/// The name with some levels replaced by wildcards or others, dropped, or appended.
fn draw_filter(random: &mut Random, name: &str, filter: &mut String) {
    filter.clear();
    let keep = random.below(8);
    for (place, level) in name.split('/').enumerate() {
        if place > keep {
            break;
        }
        filter.push_str(if place == 0 { "" } else { "/" });
        filter.push_str(match random.below(8) {
            0 | 1 => "+",
            2 => random.level(),
            3 if random.below(8) == 0 => ["#", "a#", "+a"][random.below(3)],
            _ => level,
        });
    }
    match random.below(8) {
        0 | 1 => filter.push_str("/#"),
        2 => filter.push_str("/+"),
        3 => filter.push('/'),
        4 if random.below(4) == 0 => "#".clone_into(filter),
        _ => {}
    }
}

#[test]
fn the_matcher_agrees_with_the_naive_one_on_a_million_random_pairs() {
    let seed = std::env::var("LANEWAY_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(SEED);
    println!("LANEWAY_SEED={seed}");
    let mut random = Random(seed.max(1));
    let (mut filter, mut name) = (String::new(), String::new());
    let (mut valid_count, mut matched_count, mut drawn) = (0, 0, 0u32);
    while valid_count < PAIRS {
        draw_name(&mut random, &mut name);
        draw_filter(&mut random, &name, &mut filter);
        let (valid, matched) = topic::compare(&filter, &name);
        valid_count += usize::from(valid);
        matched_count += usize::from(valid && matched);
        drawn += 1;
    }
    println!("{valid_count} valid pairs of {drawn}, {matched_count} of them match");
    assert!((PAIRS / 5..PAIRS * 4 / 5).contains(&matched_count), "both answers are common: {matched_count}");
}
