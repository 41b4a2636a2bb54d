//! The sending half behind its lock, and how it ends.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::core::{Outgoing, Transmit};
use crate::error::{Lost, PublishError};

/// What publishers and the writer share.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) outgoing: Outgoing,
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
    /// Sleeps until there is something.
    Sleep(Notified<'a>),
    /// Closes its side: everything was written.
    Finish,
    /// Stops: the link is gone.
    Stop,
}

impl Sending {
    pub(super) fn new(outgoing: Outgoing) -> Self {
        Self {
            outgoing,
            writer_sleeps: false,
            space_wanted: false,
            lost: None,
            finishing: false,
            finished: false,
            broken: None,
            cut: Arc::default(),
        }
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
        if self.finishing && self.outgoing.waiting_messages() == 0 {
            self.finished = true;
        }
        self.finished || !self.finishing
    }

    pub(super) fn next<'a>(&mut self, out: &mut Transmit, work: &'a Notify) -> Next<'a> {
        let useless = self.lost.is_some() && !self.finishing;
        if self.broken.is_some() || useless && self.outgoing.waiting_bytes() > 0 {
            return Next::Stop;
        }
        if self.outgoing.poll_transmit(out) {
            return Next::Write { space_wanted: std::mem::take(&mut self.space_wanted) };
        }
        if self.lost.is_some() {
            return Next::Finish;
        }
        self.writer_sleeps = true;
        // Made under the lock: nobody can put something in and find the writer awake in between.
        Next::Sleep(work.notified())
    }

    pub(super) const fn on_finished(&mut self) {
        self.finished = true;
    }

    /// Whether this side ended the connection and everything queued was written.
    pub(super) fn is_finished(&self) -> bool {
        self.finished && self.lost == Some(Lost::Closed)
    }
}
