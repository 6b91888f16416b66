//! Hears what a program says: of each line the messages, and nothing that is not JSON. Whoever
//! reads them over HTTP expects no less, however lenient the clients of programs are.

use std::{convert::Infallible, mem, sync::Arc};

use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::Deserializer;

use super::{
    counters::Counters,
    launcher::Audience,
    reply::{self, INTERNAL},
    splice::{BOUNDS, Gist, items},
};
use crate::{
    jsonrpc::{Kind, skip_mark},
    relay::remote::problem::Problem,
    scan::{Frame, Scanner},
};

/// What a client is told whose answer cannot be given to it.
const NOT_JSON: &str = "the server has answered this with what is not JSON in UTF-8";

/// Takes in what a program says.
#[derive(Debug)]
pub(super) struct Hearing<A> {
    audience: Arc<A>,
    counters: Arc<Counters>,
    scanner: Scanner,
    complained: bool,
}

impl<A: Audience> Hearing<A> {
    pub(super) fn new(audience: Arc<A>, counters: Arc<Counters>) -> Self {
        Self { audience, counters, scanner: Scanner::new(BOUNDS), complained: false }
    }

    /// A line, or what the proxy says in place of one, and why.
    pub(super) fn take(&mut self, line: &Bytes, why: Option<Problem>) {
        if self.hear_all(line, why) {
            return;
        }
        self.counters.count_garbage();
        if !mem::replace(&mut self.complained, true) {
            tracing::warn!(
                session = %self.audience.tag(),
                "the server writes to standard output what is no JSON-RPC message; such lines \
                 are left out: logs belong to standard error"
            );
        }
    }

    /// The values of a line, each as a message of its own: of a line break that was forgotten
    /// nothing follows. Returns whether there was nothing else.
    fn hear_all(&mut self, line: &Bytes, mut why: Option<Problem>) -> bool {
        let mut line = line.clone();
        skip_mark(&mut line);
        let mut values = Deserializer::from_slice(&line).into_iter::<IgnoredAny>();
        let (mut at, mut is_clean) = (0, true);
        while let Some(value) = values.next() {
            if value.is_err() {
                self.answer_for(&line[at..]);
                return false;
            }
            let text = line.slice(at..values.byte_offset());
            at = values.byte_offset();
            if str::from_utf8(&text).is_ok() {
                is_clean &= self.hear(text, why.take());
            } else {
                self.answer_for(&text);
                is_clean = false;
            }
        }
        is_clean
    }

    /// One JSON value. Returns whether it is a message, or several.
    fn hear(&mut self, text: Bytes, why: Option<Problem>) -> bool {
        self.scanner.feed(&text);
        let gist = self.scanner.only().map(Gist::of);
        match (self.scanner.end(), gist) {
            (Frame::Whole, Some(gist)) => self.audience.hear_of(text, &gist, why),
            _ => hear_each(&*self.audience, &text),
        }
    }

    /// What is left out may be an answer, as far as it can be read: nobody waits for another.
    fn answer_for(&self, broken: &[u8]) {
        let mut scanner = Scanner::new(BOUNDS);
        scanner.feed(broken);
        let message = scanner.message();
        if message.in_batch() || !matches!(Kind::of(message), Kind::Answer(_)) {
            return;
        }
        let error = reply::refusal(broken, INTERNAL, NOT_JSON);
        let mut scanner = Scanner::new(BOUNDS);
        scanner.feed(&error);
        let gist = Gist::of(scanner.message());
        self.audience.hear_of(error, &gist, Some(Problem::strange(NOT_JSON)));
    }
}

/// A program has said several messages at once (2025-03-26). Returns whether it has.
fn hear_each<A: Audience>(audience: &A, text: &Bytes) -> bool {
    let mut said = Vec::new();
    let broken = items(text, |message, item| {
        said.push((text.slice_ref(item), Gist::of(message)));
        Ok::<_, Infallible>(())
    });
    let are_messages = said.iter().all(|(_, gist)| gist.kind != Kind::Unknown);
    let is_batch = broken == Ok(false) && are_messages;
    if is_batch {
        for (text, gist) in said {
            audience.hear(text, &gist);
        }
    }
    is_batch
}
