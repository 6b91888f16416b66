//! The accounts: every tool call observed is, for every sink, queued, delivered, rejected or
//! dropped for a named reason. All changes go through one lock, so that the identity
//! `observed + restored = delivered + rejected + dropped + queued` holds in every snapshot.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use super::lock;

/// The reason that every sink shares: its queue could not take the call.
pub const QUEUE_FULL: &str = "queue_full";
/// The reason of what was still queued when the time to end was over.
pub const SHUTDOWN: &str = "shutdown";

/// The books of all sinks.
#[derive(Debug, Default)]
pub struct Ledger {
    books: Mutex<Books>,
}

/// A consistent copy of the books.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Books {
    /// Tool calls observed since the start.
    pub observed: u64,
    /// The same, as far as they were observed under a number: [`Ledger::observed_as`].
    pub by_kind: Vec<u64>,
    /// One line a sink, in the order in which accounts were opened.
    pub sinks: Vec<Line>,
}

/// The books of one sink. All figures are tool calls since the start, but `queued`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// The value of the `sink` label.
    pub sink: &'static str,
    /// Read back from the spool of an earlier process.
    pub restored: u64,
    /// Taken and acknowledged by the far end.
    pub delivered: u64,
    /// Refused by the far end for good.
    pub rejected: u64,
    /// Given up here, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Waiting, spooled or sent and not acknowledged.
    pub queued: u64,
}

impl Line {
    /// Whether the identity holds for a sink whose process observed `observed` calls.
    pub fn balances(&self, observed: u64) -> bool {
        let dropped: u64 = self.dropped.values().sum();
        observed + self.restored == self.delivered + self.rejected + dropped + self.queued
    }
}

impl Ledger {
    /// Opens the account of a sink. Do it before the first call is observed.
    pub fn account(self: &Arc<Self>, sink: &'static str) -> Account {
        let mut books = lock(&self.books);
        let dropped = BTreeMap::from([(QUEUE_FULL, 0)]);
        books.sinks.push(Line { sink, dropped, ..Line::default() });
        Account { ledger: Arc::clone(self), index: books.sinks.len() - 1 }
    }

    /// One more tool call, which every sink now owes.
    pub fn observed(&self) {
        lock(&self.books).observe();
    }

    /// The same, counted under `kind` as well: a number that the caller gave to what it wants
    /// counted together. Numbers are dense and begin at 0.
    pub fn observed_as(&self, kind: usize) {
        let mut books = lock(&self.books);
        books.observe();
        if books.by_kind.len() <= kind {
            books.by_kind.resize(kind + 1, 0);
        }
        books.by_kind[kind] += 1;
    }

    /// The books as they stand.
    pub fn snapshot(&self) -> Books {
        lock(&self.books).clone()
    }
}

impl Books {
    fn observe(&mut self) {
        self.observed += 1;
        for line in &mut self.sinks {
            line.queued += 1;
        }
    }
}

/// The account of one sink: moves calls from queued to where they ended.
#[derive(Clone, Debug)]
pub struct Account {
    ledger: Arc<Ledger>,
    index: usize,
}

impl Account {
    /// The value of the `sink` label.
    pub fn sink(&self) -> &'static str {
        lock(&self.ledger.books).sinks[self.index].sink
    }

    /// The far end has them.
    pub fn delivered(&self, calls: u64) {
        self.settle(calls, |line| line.delivered += calls);
    }

    /// The far end refused them for good.
    pub fn rejected(&self, calls: u64) {
        self.settle(calls, |line| line.rejected += calls);
    }

    /// They are given up; `reason` completes the label `dropped_<reason>`.
    pub fn dropped(&self, reason: &'static str, calls: u64) {
        self.settle(calls, |line| *line.dropped.entry(reason).or_default() += calls);
    }

    /// Makes these reasons visible before the first call is dropped for one of them, for
    /// a counter that appears together with its first drop hides it from `increase()`.
    pub fn may_drop(&self, reasons: &[&'static str]) {
        let mut books = lock(&self.ledger.books);
        for reason in reasons {
            books.sinks[self.index].dropped.entry(reason).or_default();
        }
    }

    /// They were read back from the spool and are queued again.
    pub fn restored(&self, calls: u64) {
        let mut books = lock(&self.ledger.books);
        let line = &mut books.sinks[self.index];
        line.restored += calls;
        line.queued += calls;
    }

    fn settle(&self, calls: u64, book: impl FnOnce(&mut Line)) {
        let mut books = lock(&self.ledger.books);
        let line = &mut books.sinks[self.index];
        debug_assert!(line.queued >= calls, "{}: settled more than was queued", line.sink);
        line.queued = line.queued.saturating_sub(calls);
        book(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_keeps_the_identity() {
        let ledger = Arc::new(Ledger::default());
        let (first, second) = (ledger.account("first"), ledger.account("second"));
        for _ in 0..10 {
            ledger.observed();
        }
        first.restored(2);
        first.delivered(7);
        first.rejected(1);
        second.dropped("queue_full", 4);
        let books = ledger.snapshot();
        assert!(books.sinks.iter().all(|line| line.balances(books.observed)), "{books:?}");
        assert_eq!(books.sinks[0].queued, 4);
        assert_eq!(books.sinks[1].dropped["queue_full"], 4);
    }
}
