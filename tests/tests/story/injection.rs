//! Every operation of the door fails once: the failure is surfaced or the operation is tried again, and nothing leaks.

use laneway_broker::counters::{CloseReason, Counters};
use laneway_proto::time::Duration;
use laneway_tests::sim::crime::Crime;
use laneway_tests::sim::injection::{Fault, Injection, Operation};
use laneway_tests::sim::rng::Rng;
use laneway_tests::sim::story::{Story, pause_ms, publish, subscribe};
use laneway_tests::sim::system::{Failure, System};
use laneway_tests::sim::workload::{Leave, Step};

/// Two shards; a reader that blocks its publisher, clients of the library, sessions that end in every way.
fn everything() -> Story {
    let reader = [subscribe("a/#"), vec![pause_ms(400)]].concat();
    let leaver = |leave| {
        let first = [subscribe("s/#"), vec![publish("s/1/x", 3, 100), Step::Ping, Step::Settle, Step::Leave(leave)]];
        [first.concat(), vec![publish("s/2/x", 2, 3_000), Step::Ping, Step::Settle]].concat()
    };
    let mut story = Story::new(2)
        .client(reader.clone())
        .who(|who| (who.read_pause, who.read_bytes_max) = (Duration::from_millis(1), 3_000))
        .client(vec![pause_ms(20), publish("a/b", 40, 2_000), Step::Ping, Step::Settle])
        .library(reader)
        .library(vec![pause_ms(30), publish("a/c", 20, 500), Step::Ping, Step::Settle])
        .client(leaver(Leave::Goodbye))
        .client(leaver(Leave::Finish))
        .client(leaver(Leave::Reset))
        .criminal(Crime::commit("http_request", &mut Rng::new(1, 4)));
    story.workload.settings.limits.outbox_bytes_max = 16 * 1024;
    story.network.capacity_bytes_max = 70_000;
    story
}

fn total(system: &System, of: fn(&Counters) -> u64) -> u64 {
    system.shards().iter().map(|shard| of(shard.counters())).sum()
}

/// The failure shows in what is counted, or all the same everybody got everything.
fn is_answered(fault: Fault, system: &System, undisturbed: u64) -> bool {
    let failed = |counters: &Counters| counters.closed_for(CloseReason::ConnectionFailed);
    match fault.operation {
        Operation::Accept => total(system, |counters| counters.accept_paused) == 1,
        Operation::Configure => total(system, |counters| counters.options_refused) == 1,
        Operation::Receive if fault.errno == libc::ENOBUFS => total(system, |counters| counters.no_buffers) >= 1,
        Operation::Receive if fault.errno == libc::ECANCELED => system.oracle().delivered() >= undisturbed,
        // A connection that is on its way out already keeps the reason for which it is.
        Operation::Receive | Operation::Send => {
            total(system, failed) >= 1 || system.oracle().delivered() >= undisturbed
        }
        Operation::Peer | Operation::ShutdownSend | Operation::Shutdown | Operation::Turn => true,
    }
}

/// Fails the `nth` operation; `None` if there are not so many.
fn run(fault: Fault, nth: u64, undisturbed: u64) -> Option<Result<(), String>> {
    let mut system = everything().begin();
    system.world().borrow_mut().injection = Injection::nth(fault, nth);
    let played = system.play();
    if !system.world().borrow().injection.has_struck() {
        return None;
    }
    Some(match (fault.operation, played) {
        // A ring that fails ends its shard, with the error: nobody may go on as if nothing had happened.
        (Operation::Turn, Err(Failure::Promise(text))) if text.contains(&format!("os error {}", fault.errno)) => Ok(()),
        (Operation::Turn, other) => Err(format!("the turn's failure was not surfaced: {other:?}")),
        (_, Err(failure)) => Err(format!("{failure:?}")),
        (_, Ok(())) if !is_answered(fault, &system, undisturbed) => Err(format!(
            "it was ignored: {:?}",
            system.shards().iter().map(|shard| *shard.counters()).collect::<Vec<_>>()
        )),
        (_, Ok(())) => Ok(()),
    })
}

#[test]
fn every_operation_of_the_door_fails_once_and_each_failure_is_surfaced_or_tried_again() {
    let undisturbed = everything().play().expect("nothing goes wrong").oracle().delivered();
    let mut problems = Vec::new();
    for fault in Fault::all() {
        let mut struck = 0;
        while let Some(verdict) = run(fault, struck + 1, undisturbed) {
            struck += 1;
            if let Err(problem) = verdict {
                problems.push(format!("{fault:?}, number {struck}: {problem}"));
            }
            // Turns are many and all alike.
            if fault.operation == Operation::Turn && struck == 50 {
                break;
            }
        }
        println!("{fault:?}: {struck} operations, each failed once");
        assert!(struck > 0, "{fault:?}: the scenario never does it");
    }
    assert!(problems.is_empty(), "{} of them:\n{}", problems.len(), problems.join("\n"));
}
