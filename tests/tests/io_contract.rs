//! The promises at the top of the broker's `io` module, run against the simulator and against the kernel's ring.

use laneway_broker::io::{Completion, Io as _, PeerAddress, Receive, ReceiveEnd, SEND_PIECES_MAX, Wait};
use laneway_broker::pool::Piece;
use laneway_broker::slab::Key;
use laneway_proto::time::{Duration, Instant};
use laneway_tests::contract::kernel::KernelDoors;
use laneway_tests::contract::simulated::SimulatedDoors;
use laneway_tests::contract::{DATAGRAMS, Doors, FarRead, LISTENER, pattern, resumes};

/// Seeds each promise is checked with.
const SEEDS: u64 = 25;

macro_rules! promises {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            #[test]
            fn simulated() {
                for seed in 0..super::SEEDS {
                    eprintln!("seed {seed}");
                    super::$name(super::SimulatedDoors::open(seed));
                }
            }

            #[test]
            fn tcp() {
                if let Some(doors) = super::KernelDoors::tcp() {
                    super::$name(doors);
                }
            }

            #[test]
            fn unix() {
                if let Some(doors) = super::KernelDoors::unix() {
                    super::$name(doors);
                }
            }
        }
    )+};
}

promises![
    every_dial_is_accepted_once_on_a_socket_of_its_own,
    received_bytes_are_in_order_and_the_end_comes_last,
    the_end_right_behind_bytes_is_never_lost,
    a_receive_of_one_buffer_ends_with_it_and_the_next_one_goes_on,
    a_send_holds_its_buffers_until_it_ends_once,
    a_large_send_arrives_whole_and_in_order_however_slowly_it_is_read,
    both_directions_flow_at_once_through_shared_buffers,
    without_a_free_buffer_receiving_ends_and_resumes_without_loss,
    a_cancelled_receive_ends_once_and_the_next_one_continues,
    a_connection_that_is_handed_on_goes_on_under_another_key,
    shutdown_ends_what_is_in_flight,
    ending_the_sending_side_leaves_the_receiving_side_open,
    a_peer_that_resets_ends_receives_and_sends,
    time_moves_only_in_turns_and_never_back,
    a_deadline_ends_the_wait,
    a_doorbell_ends_another_shards_wait,
    a_closed_listener_accepts_no_more,
    a_peer_has_an_address,
    datagrams_arrive_whole_from_who_sent_them_and_answers_go_there,
];

/// The received bytes of connection `slot`, released; and how its receive ended, if it did.
fn take<D: Doors>(door: &mut D, completions: &[Completion], slot: u32, bytes: &mut Vec<u8>) -> Option<ReceiveEnd> {
    let mut ended = None;
    for completion in completions {
        match *completion {
            Completion::Received { key, buf, len } if key.slot == slot => {
                assert_eq!(ended, None, "no bytes after the end of a receive");
                bytes.extend_from_slice(&door.io(0).pool().bytes(buf)[..len as usize]);
                door.io(0).pool_mut().release(buf);
            }
            Completion::ReceiveEnded { key, end } if key.slot == slot => {
                assert_eq!(ended, None, "a receive ends once");
                ended = Some(end);
            }
            Completion::Accepted { .. }
            | Completion::AcceptEnded { .. }
            | Completion::Received { .. }
            | Completion::ReceiveEnded { .. }
            | Completion::Sent { .. }
            | Completion::Datagram { .. }
            | Completion::DatagramsEnded { .. }
            | Completion::Doorbell => {}
        }
    }
    ended
}

fn sent(completions: &[Completion]) -> Vec<Result<u32, laneway_broker::io::Errno>> {
    let results = completions.iter().filter_map(|completion| match *completion {
        Completion::Sent { result, .. } => Some(result),
        Completion::Accepted { .. }
        | Completion::AcceptEnded { .. }
        | Completion::Received { .. }
        | Completion::ReceiveEnded { .. }
        | Completion::Datagram { .. }
        | Completion::DatagramsEnded { .. }
        | Completion::Doorbell => None,
    });
    results.collect()
}

/// Egress buffers filled with `bytes`, as pieces of `piece_bytes`.
fn pieces<D: Doors>(door: &mut D, bytes: &[u8], piece_bytes: usize) -> Vec<Piece> {
    let pool = door.io(0).pool_mut();
    let fill = |part: &[u8]| {
        let buf = pool.take_egress();
        pool.bytes_mut(buf)[..part.len()].copy_from_slice(part);
        Piece { buf, start: 0, len: part.len() as u32 }
    };
    bytes.chunks(piece_bytes).map(fill).collect()
}

/// What is left of `pieces` after the first `count` bytes.
fn rest_after(pieces: &[Piece], count: u32) -> Vec<Piece> {
    let mut skip = count;
    let mut rest = Vec::new();
    for &Piece { buf, start, len } in pieces {
        let skipped = skip.min(len);
        skip -= skipped;
        if skipped < len {
            rest.push(Piece { buf, start: start + skipped, len: len - skipped });
        }
    }
    rest
}

fn every_dial_is_accepted_once_on_a_socket_of_its_own<D: Doors>(mut door: D) {
    let connections: Vec<_> = (0..20).map(|slot| door.connect(slot)).collect();
    let mut sockets: Vec<i32> = connections.iter().map(|connection| connection.socket.0).collect();
    sockets.sort_unstable();
    sockets.dedup();
    assert_eq!(sockets.len(), 20);
    for _ in 0..20 {
        let extra = door.turn_briefly(0);
        assert!(!extra.iter().any(|completion| matches!(completion, Completion::Accepted { .. })), "{extra:?}");
    }
}

fn a_connection_that_is_handed_on_goes_on_under_another_key<D: Doors>(mut door: D) {
    for _ in 0..20 {
        let mut connection = door.connect(3);
        door.io(0).receive(connection.key, connection.socket, Receive::Many);
        let (mut bytes, mut written) = (Vec::new(), 0);
        door.turn_until("the first bytes arrive", |door, completions| {
            written += door.write(&mut connection.far, &b"first"[written..]);
            let ended = take(door, completions, 3, &mut bytes);
            if ended.is_some_and(resumes) {
                door.io(0).receive(connection.key, connection.socket, Receive::Many);
            }
            bytes == b"first"
        });
        door.io(0).cancel_receive(connection.key);
        door.turn_until("the receive ends", |door, completions| take(door, completions, 3, &mut bytes).is_some());
        door.io(0).release(connection.socket);
        let key = Key { slot: 4, generation: 9 };
        door.io(0).receive(key, connection.socket, Receive::Many);
        let (mut more, mut written) = (Vec::new(), 0);
        door.turn_until("the rest arrives, and then the end", |door, completions| {
            if written < 6 {
                written += door.write(&mut connection.far, &b"second"[written..]);
                if written == 6 {
                    door.finish(&mut connection.far);
                }
            }
            assert_eq!(take(door, completions, 3, &mut Vec::new()), None, "nothing has the old name");
            let ended = take(door, completions, 4, &mut more);
            if ended.is_some_and(resumes) {
                door.io(0).receive(key, connection.socket, Receive::Many);
            }
            ended == Some(ReceiveEnd::Closed)
        });
        assert_eq!(more, b"second");
        door.io(0).close(connection.socket);
    }
}

fn the_end_right_behind_bytes_is_never_lost<D: Doors>(mut door: D) {
    for _ in 0..20 {
        let mut connection = door.connect(3);
        door.io(0).receive(connection.key, connection.socket, Receive::Many);
        door.turn_briefly(0);
        let written: usize = (0..3).map(|_| door.write(&mut connection.far, b"last words")).sum();
        door.finish(&mut connection.far);
        let mut got = Vec::new();
        door.turn_until("the end arrives", |door, completions| match take(door, completions, 3, &mut got) {
            Some(ReceiveEnd::Closed) => true,
            Some(end) => {
                assert!(resumes(end), "ended by {end:?}");
                door.io(0).receive(connection.key, connection.socket, Receive::Many);
                false
            }
            None => false,
        });
        assert_eq!(got.len(), written);
        door.io(0).close(connection.socket);
    }
}

fn received_bytes_are_in_order_and_the_end_comes_last<D: Doors>(mut door: D) {
    let mut connection = door.connect(3);
    let wanted = pattern(D::MANY_BYTES);
    let (mut written, mut got, mut finished) = (0, Vec::new(), false);
    door.io(0).receive(connection.key, connection.socket, Receive::Many);
    door.turn_until("every byte and then the end arrives", |door, completions| {
        written += door.write(&mut connection.far, &wanted[written..]);
        if written == wanted.len() && !finished {
            door.finish(&mut connection.far);
            finished = true;
        }
        match take(door, completions, 3, &mut got) {
            Some(ReceiveEnd::Closed) => true,
            Some(end) => {
                assert!(resumes(end), "ended by {end:?}");
                door.io(0).receive(connection.key, connection.socket, Receive::Many);
                false
            }
            None => false,
        }
    });
    assert!(got == wanted, "{} of {} bytes, or in another order", got.len(), wanted.len());
    for _ in 0..10 {
        let after = door.turn_briefly(0);
        assert_eq!(take(&mut door, &after, 3, &mut got), None, "the end comes once");
    }
    assert_eq!((got.len(), door.io(0).pool().held()), (wanted.len(), 0), "every reference was handed over");
    door.io(0).close(connection.socket);
}

fn a_receive_of_one_buffer_ends_with_it_and_the_next_one_goes_on<D: Doors>(mut door: D) {
    let mut connection = door.connect(9);
    let wanted = pattern(D::MANY_BYTES);
    let (mut written, mut got, mut pieces, mut receiving) = (0, Vec::new(), 0, false);
    door.turn_until("every byte arrives, a buffer at a time", |door, completions| {
        written += door.write(&mut connection.far, &wanted[written..]);
        let here = completions.iter().filter(|completion| matches!(completion, Completion::Received { .. })).count();
        pieces += here;
        if let Some(end) = take(door, completions, 9, &mut got) {
            assert!(resumes(end), "ended by {end:?}");
            assert!(here <= 1, "one buffer was asked for, {here} came");
            receiving = false;
        } else {
            assert_eq!(here, 0, "a buffer and the end come together");
        }
        if !receiving && got.len() < wanted.len() {
            receiving = true;
            door.io(0).receive(connection.key, connection.socket, Receive::Once);
        }
        got.len() == wanted.len()
    });
    assert!(got == wanted && pieces > 1, "{} of {} bytes in {pieces} pieces", got.len(), wanted.len());
    assert_eq!(door.io(0).pool().held(), 0);
}

fn a_send_holds_its_buffers_until_it_ends_once<D: Doors>(mut door: D) {
    let mut connection = door.connect(4);
    let wanted = pattern(SEND_PIECES_MAX * 3);
    let list = pieces(&mut door, &wanted, 3);
    assert_eq!(list.len(), SEND_PIECES_MAX);
    door.io(0).send(connection.key, connection.socket, &list);
    for piece in &list {
        door.io(0).pool_mut().release(piece.buf);
    }
    assert_eq!(door.io(0).pool().held() as usize, SEND_PIECES_MAX, "the door holds them now");
    let (mut results, mut got) = (Vec::new(), Vec::new());
    door.turn_until("the send ends", |door, completions| {
        results.extend(sent(completions));
        if let FarRead::Bytes(bytes) = door.read(&mut connection.far) {
            got.extend(bytes);
        }
        !results.is_empty()
    });
    let count = results[0].expect("nothing is wrong") as usize;
    assert!(count > 0 && count <= wanted.len());
    assert_eq!(door.io(0).pool().held(), 0);
    door.turn_until("what was sent has arrived", |door, completions| {
        results.extend(sent(completions));
        if let FarRead::Bytes(bytes) = door.read(&mut connection.far) {
            got.extend(bytes);
        }
        got.len() >= count
    });
    assert_eq!((got, results.len()), (wanted[..count].to_vec(), 1));
}

fn a_large_send_arrives_whole_and_in_order_however_slowly_it_is_read<D: Doors>(mut door: D) {
    let mut connection = door.connect(5);
    let wanted = pattern(4 * D::MANY_BYTES);
    let all = pieces(&mut door, &wanted, 16 * 1024);
    let mut rest = all.clone();
    door.io(0).send(connection.key, connection.socket, &rest);
    let (mut got, mut turns) = (Vec::new(), 0);
    door.turn_until("every byte arrives", |door, completions| {
        for result in sent(completions) {
            rest = rest_after(&rest, result.expect("nothing is wrong"));
            if !rest.is_empty() {
                door.io(0).send(connection.key, connection.socket, &rest);
            }
        }
        turns += 1;
        if turns > 20
            && let FarRead::Bytes(bytes) = door.read(&mut connection.far)
        {
            got.extend(bytes);
        }
        rest.is_empty() && got.len() == wanted.len()
    });
    assert!(got == wanted, "the bytes are the same, in the same order");
    for piece in all {
        door.io(0).pool_mut().release(piece.buf);
    }
    assert_eq!(door.io(0).pool().held(), 0);
}

fn both_directions_flow_at_once_through_shared_buffers<D: Doors>(mut door: D) {
    let mut connection = door.connect(6);
    let wanted = pattern(D::MANY_BYTES);
    let (mut written, mut echoed, mut sending) = (0, Vec::new(), false);
    let mut waiting: Vec<Piece> = Vec::new();
    let mut receiving = true;
    door.io(0).receive(connection.key, connection.socket, Receive::Many);
    door.turn_until("every byte comes back", |door, completions| {
        written += door.write(&mut connection.far, &wanted[written..]);
        for completion in completions {
            match *completion {
                Completion::Received { buf, len, .. } => waiting.push(Piece { buf, start: 0, len }),
                Completion::ReceiveEnded { end, .. } => {
                    assert!(resumes(end), "ended by {end:?}");
                    receiving = false;
                }
                Completion::Sent { result, .. } => {
                    sending = false;
                    let rest = rest_after(&waiting, result.expect("nothing is wrong"));
                    for gone in &waiting[..waiting.len() - rest.len()] {
                        door.io(0).pool_mut().release(gone.buf);
                    }
                    waiting = rest;
                }
                Completion::Accepted { .. }
                | Completion::AcceptEnded { .. }
                | Completion::Datagram { .. }
                | Completion::DatagramsEnded { .. }
                | Completion::Doorbell => {}
            }
        }
        if !sending && !waiting.is_empty() {
            let count = waiting.len().min(SEND_PIECES_MAX);
            door.io(0).send(connection.key, connection.socket, &waiting[..count]);
            sending = true;
        }
        let pool = door.io(0).pool();
        if !receiving && (pool.lendable() > 0) {
            door.io(0).receive(connection.key, connection.socket, Receive::Many);
            receiving = true;
        }
        if let FarRead::Bytes(bytes) = door.read(&mut connection.far) {
            echoed.extend(bytes);
        }
        echoed.len() == wanted.len() && !sending
    });
    assert!(echoed == wanted, "the echo is what was said");
    assert_eq!(door.io(0).pool().held(), 0);
}

fn without_a_free_buffer_receiving_ends_and_resumes_without_loss<D: Doors>(mut door: D) {
    let mut connection = door.connect(7);
    let wanted = pattern(D::MANY_BYTES);
    let (mut written, mut got, mut held) = (0, Vec::new(), Vec::new());
    let (mut exhausted, mut receiving) = (0, true);
    door.io(0).receive(connection.key, connection.socket, Receive::Many);
    door.turn_until("every byte arrives", |door, completions| {
        written += door.write(&mut connection.far, &wanted[written..]);
        for completion in completions {
            match *completion {
                Completion::Received { buf, len, .. } => {
                    assert!(receiving, "no bytes without a receive");
                    got.extend_from_slice(&door.io(0).pool().bytes(buf)[..len as usize]);
                    held.push(buf);
                }
                Completion::ReceiveEnded { end, .. } => {
                    assert!(receiving && resumes(end), "ended by {end:?}");
                    if end == ReceiveEnd::NoBuffers && door.io(0).pool().lent() == 0 {
                        exhausted += 1;
                        for buf in held.drain(..) {
                            door.io(0).pool_mut().release(buf);
                        }
                    }
                    receiving = false;
                }
                Completion::Accepted { .. }
                | Completion::AcceptEnded { .. }
                | Completion::Sent { .. }
                | Completion::Datagram { .. }
                | Completion::DatagramsEnded { .. }
                | Completion::Doorbell => {}
            }
        }
        if !receiving {
            door.io(0).receive(connection.key, connection.socket, Receive::Many);
            receiving = true;
        }
        got.len() == wanted.len()
    });
    assert!(got == wanted, "nothing was lost while no buffer was free");
    assert!(exhausted > 0, "this many bytes do not fit the pool of this test");
    assert!(door.io(0).pool().ingress_total() <= 16, "the pool grows to its bound and no further");
}

fn a_cancelled_receive_ends_once_and_the_next_one_continues<D: Doors>(mut door: D) {
    let mut connection = door.connect(8);
    let wanted = pattern(D::MANY_BYTES);
    let (mut written, mut got, mut cancelled, mut receiving) = (0, Vec::new(), 0, false);
    door.turn_until("every byte arrives in spite of many cancels", |door, completions| {
        if let Some(end) = take(door, completions, 8, &mut got) {
            assert!(receiving && (resumes(end) || end == ReceiveEnd::Cancelled), "ended by {end:?}");
            cancelled += u32::from(end == ReceiveEnd::Cancelled);
            receiving = false;
        }
        if !receiving {
            door.io(0).receive(connection.key, connection.socket, Receive::Many);
            receiving = true;
        } else if cancelled < 10 {
            door.io(0).cancel_receive(connection.key);
        } else {
            let some = &wanted[written..wanted.len().min(written + 5_000)];
            written += door.write(&mut connection.far, some);
        }
        got.len() == wanted.len()
    });
    assert!(got == wanted && cancelled >= 10, "{cancelled} cancels, and no byte lost");
}

fn shutdown_ends_what_is_in_flight<D: Doors>(mut door: D) {
    let mut connection = door.connect(9);
    door.io(0).receive(connection.key, connection.socket, Receive::Many);
    // More than any socket buffer takes while nobody reads.
    let buf = door.io(0).pool_mut().take_egress();
    let list = vec![Piece { buf, start: 0, len: 16 * 1024 }; SEND_PIECES_MAX];
    let mut in_flight = true;
    let mut ended = 0;
    door.io(0).send(connection.key, connection.socket, &list);
    for _ in 0..50 {
        let completions = door.turn_briefly(0);
        if !sent(&completions).is_empty() {
            door.io(0).send(connection.key, connection.socket, &list);
        }
        if let Some(end) = take(&mut door, &completions, 9, &mut Vec::new()) {
            assert!(resumes(end));
            door.io(0).receive(connection.key, connection.socket, Receive::Many);
        }
    }
    door.io(0).shutdown(connection.socket);
    door.turn_until("the receive and the send have ended", |door, completions| {
        let count = sent(completions).len();
        assert!(count <= usize::from(in_flight), "a send ends once");
        in_flight &= count == 0;
        ended += u32::from(take(door, completions, 9, &mut Vec::new()).is_some());
        !in_flight && ended > 0
    });
    assert_eq!(ended, 1);
    door.io(0).pool_mut().release(buf);
    assert_eq!(door.io(0).pool().held(), 0);
    door.io(0).close(connection.socket);
    door.turn_until("the peer sees the end", |door, _| door.read(&mut connection.far) == FarRead::Ended);
}

fn ending_the_sending_side_leaves_the_receiving_side_open<D: Doors>(mut door: D) {
    let mut connection = door.connect(10);
    door.io(0).receive(connection.key, connection.socket, Receive::Many);
    door.io(0).shutdown_send(connection.socket);
    door.turn_until("the peer sees the end", |door, completions| {
        if take(door, completions, 10, &mut Vec::new()).is_some() {
            door.io(0).receive(connection.key, connection.socket, Receive::Many);
        }
        door.read(&mut connection.far) == FarRead::Ended
    });
    let (mut got, mut written) = (Vec::new(), 0);
    let wanted = pattern(5_000);
    door.turn_until("the peer's bytes still arrive", |door, completions| {
        written += door.write(&mut connection.far, &wanted[written..]);
        if take(door, completions, 10, &mut got).is_some() {
            door.io(0).receive(connection.key, connection.socket, Receive::Many);
        }
        got == wanted
    });
}

fn a_peer_that_resets_ends_receives_and_sends<D: Doors>(mut door: D) {
    let connection = door.connect(11);
    door.io(0).receive(connection.key, connection.socket, Receive::Many);
    let buf = door.io(0).pool_mut().take_egress();
    if !door.reset(connection.far) {
        return;
    }
    let mut end = None;
    door.turn_until("the receive ends", |door, completions| {
        if let Some(why) = take(door, completions, 11, &mut Vec::new()) {
            if resumes(why) {
                door.io(0).receive(connection.key, connection.socket, Receive::Many);
            } else {
                end = Some(why);
            }
        }
        end.is_some()
    });
    assert!(matches!(end, Some(ReceiveEnd::Failed(_) | ReceiveEnd::Closed)), "ended by {end:?}");
    door.io(0).send(connection.key, connection.socket, &[Piece { buf, start: 0, len: 100 }]);
    let mut results = Vec::new();
    door.turn_until("the send ends", |_, completions| {
        results.extend(sent(completions));
        !results.is_empty()
    });
    assert!(results[0].is_err(), "nobody took the bytes, but {results:?}");
    door.io(0).pool_mut().release(buf);
    assert_eq!(door.io(0).pool().held(), 0);
    door.io(0).close(connection.socket);
}

fn time_moves_only_in_turns_and_never_back<D: Doors>(mut door: D) {
    let mut before = door.io(0).now();
    for slot in 0..10 {
        let connection = door.connect(slot);
        let now = door.io(0).now();
        assert!(now >= before, "time went back");
        door.io(0).receive(connection.key, connection.socket, Receive::Many);
        std::thread::yield_now();
        assert_eq!(door.io(0).now(), now, "time moved outside of a turn");
        door.turn_briefly(0);
        before = now;
    }
}

fn a_deadline_ends_the_wait<D: Doors>(mut door: D) {
    door.turn(0, Wait::No);
    let deadline: Instant = door.io(0).now() + Duration::from_millis(20);
    for _ in 0..1_000 {
        let completions = door.turn(0, Wait::Until(deadline));
        assert!(completions.is_empty(), "nothing was asked for, but {completions:?}");
        if door.io(0).now() >= deadline {
            return;
        }
    }
    panic!("a wait neither lasts until its deadline nor ends there");
}

fn a_doorbell_ends_another_shards_wait<D: Doors>(mut door: D) {
    for round in 0..50 {
        let (from, to) = (round % 2, 1 - round % 2);
        door.io(from).ring_doorbell(to);
        door.turn(from, Wait::No);
        let mut rung = false;
        for _ in 0..10 {
            rung = rung || door.turn(to, Wait::Forever).contains(&Completion::Doorbell);
            if rung {
                break;
            }
        }
        assert!(rung, "round {round}: the doorbell was not heard");
    }
}

fn a_closed_listener_accepts_no_more<D: Doors>(mut door: D) {
    let _connection = door.connect(1);
    door.io(0).close_listener(LISTENER);
    door.turn_until("accepting ends", |_, completions| {
        completions.iter().any(|completion| matches!(completion, Completion::AcceptEnded { .. }))
    });
    door.turn_until("dials are refused", |door, completions| {
        let accepted = completions.iter().any(|completion| matches!(completion, Completion::Accepted { .. }));
        assert!(!accepted, "a connection was accepted on a closed listener");
        door.refuses()
    });
}

fn a_peer_has_an_address<D: Doors>(mut door: D) {
    let connection = door.connect(1);
    assert_ne!(door.io(0).peer(connection.socket), PeerAddress::Unknown);
}

fn datagrams_arrive_whole_from_who_sent_them_and_answers_go_there<D: Doors>(mut door: D) {
    door.io(0).receive_datagrams(DATAGRAMS);
    let said: Vec<Vec<u8>> = [1, 2, 100, 1_472, 200].iter().map(|&bytes| pattern(bytes)).collect();
    for bytes in &said {
        door.say(bytes);
        let mut heard = None;
        door.turn_until("a datagram arrives", |door, completions| {
            for completion in completions {
                if let Completion::Datagram { listener, from, buf, start, len } = *completion {
                    assert_eq!((listener, heard.as_ref()), (DATAGRAMS, None), "it arrives once");
                    heard = Some(door.io(0).pool().piece(Piece { buf, start, len }).to_vec());
                    door.io(0).send_datagram(DATAGRAMS, from, Piece { buf, start, len });
                    door.io(0).pool_mut().release(buf);
                }
            }
            heard.is_some()
        });
        let kept = bytes.len().min(door.datagram_bytes_max());
        assert!(heard.as_deref() == Some(&bytes[..kept]), "{} bytes", bytes.len());
        let mut answer = None;
        door.turn_until("the answer is there", |door, _| {
            answer = answer.take().or_else(|| door.hear());
            answer.is_some()
        });
        assert!(answer.as_deref() == Some(&bytes[..kept]), "{} bytes", bytes.len());
    }
    assert_eq!(door.io(0).pool().held(), 0, "every buffer came back");
}
