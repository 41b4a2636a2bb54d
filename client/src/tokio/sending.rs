//! The sending half behind its lock, and how it ends.

use std::collections::HashMap;
use std::sync::Arc;

use laneway_proto::time::Instant as Tick;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, oneshot};

use crate::core::{ConfirmId, Outgoing, Transmit};
use crate::error::{Doubt, Lost, PublishError};
use crate::level::Confirmed;

/// What became of a publish whose publisher wants to know.
pub(super) type Verdict = Result<Confirmed, Doubt>;

/// Publishers to be told once the locks are let go.
pub(super) type Verdicts = Vec<(oneshot::Sender<Verdict>, Verdict)>;

/// What publishers and the writer share.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) outgoing: Outgoing,
    /// Who waits for which publish; as many as the outgoing half lets wait.
    waiters: HashMap<ConfirmId, oneshot::Sender<Verdict>>,
    pub(super) writer_sleeps: bool,
    /// Somebody found the queue full and waits.
    pub(super) space_wanted: bool,
    /// Set once; from then on nothing is accepted.
    lost: Option<Lost>,
    /// What is queued is still to be written, then the link is closed.
    finishing: bool,
    finished: bool,
    /// Why this link is of no use any more, while another one is looked for.
    broken: Option<Lost>,
    /// Ends this link's writer in the middle of a write.
    cut: Arc<Notify>,
}

/// What the writer does next.
pub(super) enum Next<'a> {
    /// Writes what it was given; tells those who wait for space, if any.
    Write { space_wanted: bool },
    /// Sleeps until there is something, or until that time.
    Sleep(Notified<'a>, Option<Tick>),
    /// Closes its side: everything was written.
    Finish,
    /// Stops: the link is gone.
    Stop,
}

impl Sending {
    pub(super) fn new(outgoing: Outgoing) -> Self {
        Self {
            outgoing,
            waiters: HashMap::new(),
            writer_sleeps: false,
            space_wanted: false,
            lost: None,
            finishing: false,
            finished: false,
            broken: None,
            cut: Arc::default(),
        }
    }

    /// Gives up publishes whose time is over, and makes ready again what has to be.
    pub(super) fn watch_the_time(&mut self, now: Tick) {
        if self.outgoing.poll_timeout().is_some_and(|due| due <= now) {
            self.outgoing.on_timeout(now);
        }
    }

    /// Somebody waits for a publish from now on.
    pub(super) fn add_waiter(&mut self, id: ConfirmId) -> oneshot::Receiver<Verdict> {
        let (waiter, verdict) = oneshot::channel();
        self.waiters.insert(id, waiter);
        verdict
    }

    /// Nobody does any more.
    pub(super) fn remove_waiter(&mut self, id: ConfirmId) {
        if self.waiters.remove(&id).is_some() {
            self.outgoing.give_up(id);
        }
    }

    /// Whom to tell what.
    pub(super) fn take_verdicts(&mut self) -> Verdicts {
        let mut verdicts = Vec::new();
        while let Some((id, verdict)) = self.outgoing.poll_settled() {
            verdicts.extend(self.waiters.remove(&id).map(|waiter| (waiter, verdict)));
        }
        if let Some(lost) = self.lost.as_ref().filter(|_| !self.finishing) {
            let rest = self.waiters.drain().map(|(_, waiter)| (waiter, Err(Doubt::Lost(lost.clone()))));
            verdicts.extend(rest);
        }
        verdicts
    }

    pub(super) fn check(&self) -> Result<(), PublishError> {
        match &self.lost {
            None => Ok(()),
            Some(lost) => Err(PublishError::Lost(lost.clone())),
        }
    }

    pub(super) const fn lost(&self) -> Option<&Lost> {
        self.lost.as_ref()
    }

    /// Nothing is accepted from now on; the first reason stays. With `finish`, what is queued is still written, unless
    /// a later call says that this is of no use any more. A write in progress is cut if it is of no use.
    pub(super) fn lose(&mut self, lost: Lost, finish: bool) {
        if self.lost.is_none() {
            self.lost = Some(lost);
            self.finishing = finish;
        } else if !finish {
            self.finishing = false;
        }
        if !self.finishing {
            self.cut.notify_one();
        }
    }

    /// This link is gone, but another one may follow; false if the connection had ended before. The first reason stays.
    pub(super) fn break_link(&mut self, lost: Lost) -> bool {
        if self.lost.is_some() {
            return false;
        }
        self.broken.get_or_insert(lost);
        self.cut.notify_one();
        true
    }

    pub(super) const fn broken(&self) -> Option<&Lost> {
        self.broken.as_ref()
    }

    /// Another link is there.
    pub(super) fn mend(&mut self) {
        self.broken = None;
        self.writer_sleeps = false;
        // A new one: the old link's writer may have left a signal behind.
        self.cut = Arc::default();
    }

    pub(super) fn cut(&self) -> Arc<Notify> {
        Arc::clone(&self.cut)
    }

    /// Whether there is no use in another link: the connection ended, and nothing waits to be written.
    pub(super) fn wants_no_link(&mut self) -> bool {
        if self.lost.is_none() {
            return false;
        }
        if self.finishing && self.outgoing.waiting_messages() == 0 && !self.outgoing.is_uncounted() {
            self.finished = true;
        }
        self.finished || !self.finishing
    }

    pub(super) fn next<'a>(&mut self, now: Tick, out: &mut Transmit, work: &'a Notify) -> Next<'a> {
        self.watch_the_time(now);
        let useless = self.lost.is_some() && !self.finishing;
        if self.broken.is_some() || useless && self.outgoing.waiting_bytes() > 0 {
            return Next::Stop;
        }
        if self.outgoing.poll_transmit(out) {
            return Next::Write { space_wanted: std::mem::take(&mut self.space_wanted) };
        }
        if self.lost.is_some() && !self.outgoing.is_waiting() {
            return Next::Finish;
        }
        self.writer_sleeps = true;
        // Made under the lock: nobody can put something in and find the writer awake in between.
        Next::Sleep(work.notified(), self.outgoing.poll_timeout())
    }

    pub(super) const fn on_finished(&mut self) {
        self.finished = true;
    }

    /// Whether this side ended the connection and everything queued was written.
    pub(super) fn is_finished(&self) -> bool {
        self.finished && self.lost == Some(Lost::Closed)
    }
}
