//! A way for datagrams that loses, doubles and reorders some of them by a seed, one client at a time.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::sim::rng::Rng;

/// How long a relay waits for a datagram before it looks whether it is to end.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// What it does to datagrams, in each direction: parts of a thousand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Harm {
    /// They are dropped.
    pub lost_permille: u32,
    /// They come twice.
    pub doubled_permille: u32,
    /// They come behind the next one.
    pub late_permille: u32,
}

#[derive(Debug, Default)]
struct State {
    over: AtomicBool,
    lost_permille: AtomicU32,
    passed: AtomicU64,
    lost: AtomicU64,
}

/// Passes on datagrams between clients and a broker.
#[derive(Debug)]
pub struct Lossy {
    address: SocketAddr,
    state: Arc<State>,
}

impl Lossy {
    /// A way to `target` on a UDP port of its own.
    ///
    /// # Panics
    /// Without a port.
    pub fn start(seed: u64, harm: Harm, target: SocketAddr) -> Self {
        println!("relay with seed {seed}");
        let front = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let address = front.local_addr().expect("bound");
        let state = Arc::new(State { lost_permille: harm.lost_permille.into(), ..State::default() });
        let relaying = Arc::clone(&state);
        thread::spawn(move || relay(&front, target, seed, harm, &relaying));
        Self { address, state }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("udp://{}", self.address)
    }

    /// Datagrams passed on, and dropped.
    pub fn counts(&self) -> (u64, u64) {
        (self.state.passed.load(Ordering::Relaxed), self.state.lost.load(Ordering::Relaxed))
    }

    /// From now on so many of a thousand are dropped.
    pub fn lose(&self, permille: u32) {
        self.state.lost_permille.store(permille, Ordering::Relaxed);
    }
}

impl Drop for Lossy {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::Relaxed);
    }
}

/// One direction of one client.
struct Way {
    rng: Rng,
    late: Option<Vec<u8>>,
}

impl Way {
    fn pass(&mut self, harm: Harm, state: &State, bytes: &[u8], send: impl Fn(&[u8]) -> io::Result<usize>) {
        if self.rng.chance(state.lost_permille.load(Ordering::Relaxed)) {
            state.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        state.passed.fetch_add(1, Ordering::Relaxed);
        if self.late.is_none() && self.rng.chance(harm.late_permille) {
            self.late = Some(bytes.to_vec());
            return;
        }
        // What the system does not take is lost, as on the way.
        let _ = send(bytes);
        if self.rng.chance(harm.doubled_permille) {
            let _ = send(bytes);
        }
        if let Some(late) = self.late.take() {
            let _ = send(&late);
        }
    }
}

fn relay(front: &UdpSocket, target: SocketAddr, seed: u64, harm: Harm, state: &Arc<State>) {
    front.set_read_timeout(Some(LOOK_EVERY)).expect("a socket takes the option");
    let mut backs: HashMap<SocketAddr, (UdpSocket, Way)> = HashMap::new();
    let mut buffer = [0; 65_536];
    while !state.over.load(Ordering::Relaxed) {
        let Ok((bytes, from)) = front.recv_from(&mut buffer) else { continue };
        let stream = 2 * backs.len() as u64;
        let (back, way) = backs.entry(from).or_insert_with(|| {
            let back = UdpSocket::bind("127.0.0.1:0").expect("a free port");
            back.connect(target).expect("an address of this machine");
            let (listening, answering) = (back.try_clone().expect("a descriptor"), front.try_clone().expect("another"));
            let (state, way) = (Arc::clone(state), Way { rng: Rng::new(seed, stream + 1), late: None });
            thread::spawn(move || relay_back(&listening, &answering, from, harm, way, &state));
            (back, Way { rng: Rng::new(seed, stream), late: None })
        });
        way.pass(harm, state, &buffer[..bytes], |bytes| back.send(bytes));
    }
}

fn relay_back(back: &UdpSocket, front: &UdpSocket, to: SocketAddr, harm: Harm, mut way: Way, state: &State) {
    back.set_read_timeout(Some(LOOK_EVERY)).expect("a socket takes the option");
    let mut buffer = [0; 65_536];
    while !state.over.load(Ordering::Relaxed) {
        if let Ok(bytes) = back.recv(&mut buffer) {
            way.pass(harm, state, &buffer[..bytes], |bytes| front.send_to(bytes, to));
        }
    }
}
