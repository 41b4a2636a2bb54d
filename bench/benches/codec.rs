//! The codec: header, runs, batches.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use laneway_bench::wire::{Block, Framing, Shape};
use laneway_proto::frame::batch::Messages;
use laneway_proto::framing::run::take_run;
use laneway_proto::header::{Header, Kind};
use laneway_proto::limits::{FRAME_BYTES_MAX, HEADER_BYTES, MESSAGE_BYTES_MAX_DEFAULT};

const SHAPE: Shape = Shape { payload_bytes: 64, topics: 1 };

fn header(c: &mut Criterion) {
    let header = Header { topic: 70_000, lane: 1, seq: 7, ..Header::new(Kind::PUB, 64) };
    let bytes = header.encode();
    c.bench_function("header encode", |b| b.iter(|| black_box(&header).encode()));
    c.bench_function("header decode", |b| b.iter(|| Header::decode(black_box(&bytes))));
}

fn run(c: &mut Criterion) {
    let block = Block::new(Framing::Single, SHAPE);
    let first = Header::decode(block.bytes().first_chunk().expect("a header")).expect("valid");
    let mut group = c.benchmark_group("run");
    group.throughput(Throughput::Elements(u64::from(block.messages())));
    group.bench_function("64 KiB of 64 B messages", |b| {
        b.iter_batched_ref(
            || block.bytes().to_vec(),
            |bytes| take_run(bytes, &first, 70_000, FRAME_BYTES_MAX, MESSAGE_BYTES_MAX_DEFAULT),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn batch(c: &mut Criterion) {
    let block = Block::new(Framing::Batch, SHAPE);
    let body = &block.bytes()[HEADER_BYTES..];
    let mut group = c.benchmark_group("batch");
    group.throughput(Throughput::Elements(u64::from(block.messages())));
    group.bench_function("decode 64 KiB of 64 B messages", |b| {
        b.iter(|| Messages::new(black_box(body)).map(|messages| messages.flatten().map(<[u8]>::len).sum::<usize>()));
    });
    group.finish();
}

criterion_group!(benches, header, run, batch);
criterion_main!(benches);
