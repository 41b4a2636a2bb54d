//! A link that can be cut: it passes on what goes between clients and a broker, until it is told not to.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::link::{Link, Place};

/// How often a proxy looks whether somebody wants a link.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Something that happened to the link with this number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Happened {
    /// The broker has said its first word on it.
    Answered(u32),
    /// Its client has ended it.
    Ended(u32),
}

/// Passes on bytes, both ways, for any number of links.
#[derive(Debug)]
pub struct Proxy {
    place: Place,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    target: Place,
    /// Both ends of each link.
    links: Mutex<Vec<[Link; 2]>>,
    /// Nobody gets a link.
    closed: AtomicBool,
    /// Bytes that are passed on, of all links and both ways, before all are cut.
    left: AtomicU64,
    /// That is then the end of new links, too.
    closes: AtomicBool,
    /// Broker's ends of links that only their clients have lost.
    orphans: Mutex<Vec<Link>>,
    /// Ends of links are kept to themselves.
    silent: AtomicBool,
    /// Links so far.
    made: AtomicU32,
    /// Links before this one keep what they are given, for so many milliseconds; `u64::MAX`: for good.
    ailing: AtomicU32,
    delay_ms: AtomicU64,
    diary: Mutex<Vec<Happened>>,
    over: AtomicBool,
}

impl Proxy {
    /// A way to `target` on a TCP port of its own.
    pub fn start(target: &Place) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket takes the option");
        let place = Place::Tcp(listener.local_addr().expect("bound"));
        let state = Arc::new(State {
            target: target.clone(),
            links: Mutex::default(),
            closed: AtomicBool::new(false),
            left: AtomicU64::new(u64::MAX),
            closes: AtomicBool::new(false),
            orphans: Mutex::default(),
            silent: AtomicBool::new(false),
            made: AtomicU32::new(0),
            ailing: AtomicU32::new(0),
            delay_ms: AtomicU64::new(0),
            diary: Mutex::default(),
            over: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&state);
        thread::spawn(move || {
            while !accepting.over.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((client, _)) if !accepting.closed.load(Ordering::Relaxed) => accepting.open(Link::Tcp(client)),
                    Ok(_) => {}
                    Err(_) => thread::sleep(LOOK_EVERY),
                }
            }
        });
        Self { place, state }
    }

    /// Where clients connect.
    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// Ends every link there is.
    pub fn cut(&self) {
        self.state.cut();
    }

    /// Ends every link for its client; the broker is not told, now or later.
    pub fn cut_for_clients(&self) {
        self.state.silent.store(true, Ordering::SeqCst);
        for [client, broker] in self.state.links().drain(..) {
            let _ = client.shutdown(Shutdown::Both);
            self.state.orphans.lock().unwrap_or_else(PoisonError::into_inner).push(broker);
        }
    }

    /// Ends every link once so many more bytes were passed on.
    pub fn cut_after(&self, bytes: u64) {
        self.state.left.store(bytes, Ordering::SeqCst);
    }

    /// The same, and none comes about any more.
    pub fn close_after(&self, bytes: u64) {
        self.state.closes.store(true, Ordering::SeqCst);
        self.cut_after(bytes);
    }

    /// The links there are keep what they are given for so long, and new ones do not; `None`: for good.
    pub fn ail(&self, delay: Option<Duration>) {
        let delay_ms = delay.map_or(u64::MAX, |delay| delay.as_millis() as u64);
        self.state.delay_ms.store(delay_ms, Ordering::SeqCst);
        self.state.ailing.store(self.state.made.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    /// They pass on everything at once again.
    pub fn recover(&self) {
        self.state.ailing.store(0, Ordering::SeqCst);
    }

    /// Nobody gets a link, and those there are stay.
    pub fn refuse(&self) {
        self.state.closed.store(true, Ordering::SeqCst);
    }

    /// What happened to links, by their number from 0.
    pub fn diary(&self) -> Vec<Happened> {
        self.state.diary().clone()
    }

    /// Whether new links come about.
    pub fn set_open(&self, open: bool) {
        self.state.closed.store(!open, Ordering::SeqCst);
        if !open {
            self.cut();
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::SeqCst);
        self.cut();
    }
}

impl State {
    fn links(&self) -> MutexGuard<'_, Vec<[Link; 2]>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(self: &Arc<Self>, client: Link) {
        let Ok(broker) = Link::dial(&self.target) else { return };
        if let Link::Tcp(stream) = &client {
            stream.set_nonblocking(false).expect("a socket takes the option");
            stream.set_nodelay(true).expect("a socket takes the option");
        }
        client.patience(super::process::GUARD).expect("a socket takes the option");
        let shared = [&client, &broker].map(|link| link.share().expect("descriptors are left"));
        self.links().push(shared);
        let number = self.made.fetch_add(1, Ordering::SeqCst);
        for (from, to, upward) in [(&client, &broker, true), (&broker, &client, false)] {
            let (from, to) = (from.share().expect("descriptors"), to.share().expect("descriptors"));
            let state = Arc::clone(self);
            thread::spawn(move || state.pass(from, to, number, upward));
        }
    }

    fn diary(&self) -> MutexGuard<'_, Vec<Happened>> {
        self.diary.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what was read of a link that ails for its time.
    fn ail(&self, number: u32) {
        let since = Instant::now();
        while number < self.ailing.load(Ordering::SeqCst)
            && since.elapsed().as_millis() < u128::from(self.delay_ms.load(Ordering::SeqCst))
            && !self.over.load(Ordering::SeqCst)
        {
            thread::sleep(LOOK_EVERY);
        }
    }

    fn pass(&self, mut from: Link, mut to: Link, number: u32, upward: bool) {
        let mut memory = vec![0; 32 * 1024];
        let mut answered = upward;
        while let Ok(bytes @ 1..) = from.read(&mut memory) {
            self.ail(number);
            if !std::mem::replace(&mut answered, true) {
                self.diary().push(Happened::Answered(number));
            }
            let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                Some(if left == u64::MAX { left } else { left.saturating_sub(bytes as u64) })
            });
            let passed = left.map_or(bytes, |left| usize::try_from(left).unwrap_or(usize::MAX).min(bytes));
            if to.write_all(&memory[..passed]).is_err() {
                break;
            }
            if passed < bytes {
                self.left.store(u64::MAX, Ordering::SeqCst);
                if self.closes.swap(false, Ordering::SeqCst) {
                    self.closed.store(true, Ordering::SeqCst);
                }
                self.cut();
            }
        }
        if upward {
            self.diary().push(Happened::Ended(number));
        }
        if !self.silent.load(Ordering::SeqCst) {
            for link in [from, to] {
                let _ = link.shutdown(Shutdown::Both);
            }
        }
    }

    fn cut(&self) {
        for link in self.links().drain(..).flatten() {
            let _ = link.shutdown(Shutdown::Both);
        }
    }
}
