//! The router: which sessions want a topic.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use laneway_broker::intern::{Intern, TopicIndex};
use laneway_broker::router::{Router, SubOptions, Subscriber};

const TOPICS: u32 = 1_000;

fn topic_name(number: u32) -> String {
    format!("site/hall-{}/robot-{number}/arm/torque", number % 10)
}

/// A router with one exact filter a topic and some wildcards, and the indices of its topics.
fn filled() -> (Router, Vec<TopicIndex>) {
    let intern = Arc::new(Intern::new(TOPICS));
    let topics = (0..TOPICS).map(|number| intern.intern(&topic_name(number)).expect("room for every topic")).collect();
    let mut router = Router::new(intern);
    for number in 0..TOPICS {
        router.subscribe(&topic_name(number), Subscriber::Local(number), SubOptions::default());
    }
    for hall in 0..10 {
        router.subscribe(&format!("site/hall-{hall}/#"), Subscriber::Local(TOPICS + hall), SubOptions::default());
        router.subscribe(&format!("site/hall-{hall}/+/arm/+"), Subscriber::Remote(1), SubOptions::default());
    }
    (router, topics)
}

fn route(c: &mut Criterion) {
    let (mut router, topics) = filled();
    let mut topics = topics.iter().copied().cycle();
    c.bench_function("route of a known topic, 1,000 topics in turn", |b| {
        b.iter(|| topics.next().and_then(|topic| router.route(black_box(topic)).map(|route| route.targets.len())));
    });
}

fn rebuild(c: &mut Criterion) {
    let (mut router, topics) = filled();
    let topic = topics[17];
    c.bench_function("route of a topic after a subscription changed", |b| {
        b.iter(|| {
            router.subscribe("office/#", Subscriber::Local(7), SubOptions::default());
            router.route(black_box(topic)).map(|route| route.targets.len())
        });
    });
}

criterion_group!(benches, route, rebuild);
criterion_main!(benches);
