//! The topic matcher: one filter against one name.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use laneway_proto::topic::{check_filter, check_name, matches};

const NAME: &str = "site/hall-3/robot-17/arm/joint-4/torque";

fn matcher(c: &mut Criterion) {
    let cases = [
        ("exact", NAME),
        ("one level", "site/+/robot-17/arm/+/torque"),
        ("rest", "site/hall-3/#"),
        ("no match at the first level", "office/#"),
        ("no match at the last level", "site/+/+/arm/joint-4/speed"),
    ];
    let mut group = c.benchmark_group("matches");
    for (name, filter) in cases {
        group.bench_function(name, |b| b.iter(|| matches(black_box(filter), black_box(NAME))));
    }
    group.finish();
    c.bench_function("check name", |b| b.iter(|| check_name(black_box(NAME))));
    c.bench_function("check filter", |b| b.iter(|| check_filter(black_box("site/+/robot-17/arm/#"))));
}

criterion_group!(benches, matcher);
criterion_main!(benches);
