//! What a client says to a server, in order: which message may leave when, and which have not been
//! answered.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use tokio::{
    sync::mpsc,
    task::{self, AbortHandle, JoinError, JoinSet},
    time::{Instant, timeout_at},
};

use super::{
    carrier::Carrier,
    conversation::Marks,
    problem::Told,
    rights::Rights,
    said::{Said, What},
    server::{Reach, Server},
};
use crate::{
    jsonrpc::{self, Id},
    mcp::method,
};

/// Bytes of messages on their way, beyond which the client is not read.
const MOST_BYTES: usize = 64 << 20;
/// What a message takes beside its text.
const ENTRY: usize = 1 << 10;

/// What is under way between the client and the server.
#[derive(Debug)]
pub(in crate::relay) struct Talk {
    carrier: Arc<Carrier>,
    /// Each a message on its way; says whether the server took it.
    errands: JoinSet<bool>,
    under_way: HashMap<task::Id, Arc<Said>>,
    /// Requests on their way by their ids, the latest of those that share one.
    known: HashMap<Id, Known>,
    /// What was said behind a barrier, in order.
    held: VecDeque<Said>,
    /// Bytes of what is held or on its way.
    bytes: usize,
    /// The errand that must be done before anything else is sent.
    barrier: Option<task::Id>,
    listening: Option<AbortHandle>,
}

/// A request on its way.
#[derive(Debug)]
struct Known {
    /// To cancel it is to leave its exchange.
    leaves: bool,
    marks: Marks,
    errand: AbortHandle,
}

impl Talk {
    /// One with the server to which `reach` leads, of which the tap hears nothing, and which
    /// keeps to the configured transport. See [`Self::new`].
    pub(in crate::relay) fn unobserved(
        reach: Arc<Reach>,
        rights: Rights,
        told: mpsc::Sender<Told>,
        in_flight: usize,
    ) -> Self {
        let server = Server::new(reach, None, rights);
        Self::with(Carrier::to(server, told, in_flight, false))
    }

    /// One with `server`, that puts what it says to the client into `told`. So many requests
    /// are in flight at most, the rest wait.
    pub(super) fn new(server: Server, told: mpsc::Sender<Told>, in_flight: usize) -> Self {
        Self::with(Carrier::to(server, told, in_flight, true))
    }

    fn with(carrier: Carrier) -> Self {
        Self {
            carrier: Arc::new(carrier),
            errands: JoinSet::new(),
            under_way: HashMap::new(),
            known: HashMap::new(),
            held: VecDeque::new(),
            bytes: 0,
            barrier: None,
            listening: None,
        }
    }

    /// Carries messages, with or without the ends of their lines, until the client has said its
    /// last word.
    pub(in crate::relay) async fn run(&mut self, mut lines: mpsc::Receiver<Bytes>) {
        loop {
            tokio::select! {
                line = lines.recv(), if self.bytes <= MOST_BYTES => match line {
                    Some(line) => self.hear(line).await,
                    None => return,
                },
                Some(done) = self.errands.join_next_with_id() => self.settle(done),
            }
        }
    }

    /// Gives up what has no answer at the first of these times, and to end the session in order
    /// at the second. The client is told nothing more then.
    pub(in crate::relay) async fn end(mut self, answers: Instant, leave: Instant) {
        let answered = async {
            while let Some(done) = self.errands.join_next_with_id().await {
                self.settle(done);
            }
        };
        let _ = timeout_at(answers, answered).await;
        let _ = timeout_at(leave, self.carrier.leave()).await;
        self.errands.abort_all();
        if let Some(listening) = &self.listening {
            listening.abort();
        }
    }

    /// The client has said something.
    async fn hear(&mut self, mut line: Bytes) {
        if line.ends_with(b"\n") {
            line.truncate(line.len() - 1);
        }
        match Said::read(line) {
            Ok(Some(said)) => {
                self.bytes += cost(&said);
                // Answers and cancellations pass what waits: somebody waits for them.
                if self.barrier.is_some() && self.waits(&said) {
                    self.held.push_back(said);
                } else {
                    self.take(said);
                }
            }
            Ok(None) => {}
            Err(fault) => {
                let error = jsonrpc::error(None, fault.code(), &fault.to_string());
                self.carrier.tell(error.into()).await;
            }
        }
    }

    /// Whether a message has to wait until the session is ready.
    fn waits(&self, said: &Said) -> bool {
        match said.what {
            What::Request => true,
            What::Aside => said.method.is_some(),
            // Not before the request itself.
            What::Cancellation(ref id) => !self.known.contains_key(id),
        }
    }

    fn take(&mut self, said: Said) {
        let What::Cancellation(id) = &said.what else {
            self.send(said);
            return;
        };
        match self.known.get(id) {
            // With the exchange the request ends.
            Some(known) if known.leaves => {
                known.errand.abort();
                self.bytes -= cost(&said);
            }
            Some(known) => {
                known.marks.withdrawn.cancel();
                self.send(said);
            }
            None => self.send(said),
        }
    }

    fn send(&mut self, said: Said) {
        let said = Arc::new(said);
        let marks = Marks::default();
        let before = match &said.what {
            What::Cancellation(id) => self.known.get(id).map(|known| known.marks.clone()),
            _ => None,
        };
        let errand = self.errands.spawn({
            let carrier = Arc::clone(&self.carrier);
            let (said, marks) = (Arc::clone(&said), marks.clone());
            async move {
                let _over = marks.over.clone().drop_guard();
                if let Some(Marks { sent, over, .. }) = before {
                    tokio::select! {
                        biased;
                        () = sent.cancelled() => {}
                        // A cancellation of what never left is about nothing.
                        () = over.cancelled() => return false,
                    }
                }
                carrier.carry(&said, &marks).await
            }
        });
        if said.is(method::INITIALIZE) || said.is(method::INITIALIZED) {
            self.barrier = Some(errand.id());
        }
        for asked in &said.asked {
            let leaves = self.carrier.is_left_by_leaving(&said);
            let (marks, errand) = (marks.clone(), errand.clone());
            self.known.insert(asked.id.clone(), Known { leaves, marks, errand });
        }
        self.under_way.insert(errand.id(), said);
    }

    /// An errand is over, or was given up.
    fn settle(&mut self, done: Result<(task::Id, bool), JoinError>) {
        let (number, taken) = done.unwrap_or_else(|error| (error.id(), false));
        let Some(said) = self.under_way.remove(&number) else { return };
        self.bytes -= cost(&said);
        for asked in &said.asked {
            if self.known.get(&asked.id).is_some_and(|known| known.errand.id() == number) {
                self.known.remove(&asked.id);
            }
        }
        if self.barrier != Some(number) {
            return;
        }
        self.barrier = None;
        if taken && said.is(method::INITIALIZED) {
            self.carrier.ready(&said.text);
            let carrier = Arc::clone(&self.carrier);
            let listening = tokio::spawn(async move { carrier.listen().await });
            if let Some(before) = self.listening.replace(listening.abort_handle()) {
                before.abort();
            }
        }
        while self.barrier.is_none()
            && let Some(said) = self.held.pop_front()
        {
            self.take(said);
        }
    }
}

/// What a message takes while it is held or on its way.
fn cost(said: &Said) -> usize {
    said.text.len() + ENTRY
}
