//! A remote server for a client on our standard streams. Each line of the client is a POST of
//! its own, and whatever the server says, on whichever stream, is a line for it.
//!
//! `client` reads and writes lines, `said` tells what they want, and the loop here decides what
//! may leave when. The `carrier` is one of two: the `conversation` carries each message by the
//! `server`, with the headers of its `session` or those that `mirror` makes of it, and reads the
//! `events` that come back; `legacy` does so where all that comes back comes on one `line`. They
//! put into `words` what became of a message without an answer. The tap is shown the HTTP side,
//! with the ids of the client: they are not changed.

use std::{
    collections::{HashMap, VecDeque},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    task::{self, AbortHandle, JoinError, JoinSet},
    time::{Instant, sleep_until, timeout_at},
};

use super::http::Counters;
use crate::{
    config::{Remote, shown},
    jsonrpc::{self, Id},
    mcp::method,
    ready::Gate,
    relay::stdio::Client as Streams,
    shutdown::Shutdown,
    tap::Tap,
    traffic::HttpTransport,
};

mod carrier;
mod client;
mod conversation;
mod events;
mod legacy;
mod line;
mod mirror;
mod said;
mod server;
mod session;
mod words;

use self::{
    carrier::Carrier,
    client::Client,
    conversation::{Conversation, Marks},
    legacy::Legacy,
    said::{Said, What},
    server::Server,
};

/// Bytes of messages on their way, beyond which the client is not read.
const MOST_BYTES: usize = 64 << 20;
/// What a message takes beside its text.
const ENTRY: usize = 1 << 10;
/// From the client's last word on: until its last answers are given up, until the session has
/// been ended, and until the client has taken everything. Clients lose patience after 2 s.
const INPUT_ENDED: Grace = Grace {
    answers: Duration::from_millis(1200),
    leave: Duration::from_millis(1500),
    flush: Duration::from_millis(1800),
};
/// From a signal on. Clients that send one wait no longer than 1 s.
const STOPPED: Grace = Grace {
    answers: Duration::ZERO,
    leave: Duration::from_millis(500),
    flush: Duration::from_millis(800),
};

/// How long the parts of the end may take, from its beginning on.
#[derive(Clone, Copy, Debug)]
struct Grace {
    answers: Duration,
    leave: Duration,
    flush: Duration,
}

/// A session to be: who talks, and who is shown what they say.
#[derive(Debug)]
pub struct RemoteSession<'a> {
    /// The client's streams.
    pub client: Streams,
    /// The server.
    pub remote: &'a Remote,
    /// What it speaks.
    pub transport: HttpTransport,
    /// The MCPulse server id.
    pub server_id: Arc<str>,
    /// Where what passes is shown.
    pub tap: &'a Tap,
    /// Open while the server can be reached.
    pub gate: Gate,
    /// Begun with the end of the session.
    pub shutdown: &'a Shutdown,
    /// What is counted of exchanges with the server.
    pub counters: Arc<Counters>,
}

impl RemoteSession<'_> {
    /// Carries messages until the client has said its last word, takes no more, or `stop`
    /// completes. What is unanswered then has 1.2 s left, after a signal nothing.
    ///
    /// # Errors
    /// When the remote URL, a header or a certificate file is of no use, or no thread can be
    /// started.
    pub async fn run(self, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        let Self { client, remote, transport, server_id, tap, gate, shutdown, counters } = self;
        let server = Server::new(remote, transport, tap.clone(), server_id, gate, counters)?;
        let Client { lines, told, heard } = Client::start(client.input, client.output)?;
        let url = shown::url(&remote.url);
        let carrier = Arc::new(match transport {
            HttpTransport::Streamable => Carrier::from(Conversation::new(server, told, url)),
            HttpTransport::LegacySse => Carrier::from(Legacy::new(server, told, url)),
        });
        let mut talk = Talk {
            carrier: Arc::clone(&carrier),
            errands: JoinSet::new(),
            under_way: HashMap::new(),
            known: HashMap::new(),
            held: VecDeque::new(),
            bytes: 0,
            barrier: None,
            listening: None,
        };
        let mut heard = heard;
        let grace = {
            let mut lines = lines;
            let mut stop = pin!(stop);
            let keep = carrier.keep();
            let mut keep = pin!(keep);
            loop {
                tokio::select! {
                    line = lines.recv(), if talk.bytes <= MOST_BYTES => match line {
                        Some(line) => talk.hear(line).await,
                        None => break INPUT_ENDED,
                    },
                    Some(done) = talk.errands.join_next_with_id() => talk.settle(done),
                    () = &mut stop => break STOPPED,
                    _ = &mut heard => break INPUT_ENDED,
                    () = &mut keep => {}
                }
            }
        };
        let begun = Instant::now();
        shutdown.begin(grace.flush);
        let answered = async {
            while let Some(done) = talk.errands.join_next_with_id().await {
                talk.settle(done);
            }
        };
        // Whoever is not answered by then is told nothing: the client has gone.
        let _ = timeout_at(begun + grace.answers, answered).await;
        let _ = timeout_at(begun + grace.leave, carrier.leave()).await;
        talk.end();
        drop((talk, carrier));
        tokio::select! {
            _ = heard => {}
            () = sleep_until(begun + grace.flush) => {}
        }
        Ok(())
    }
}

/// What is under way between the client and the server.
#[derive(Debug)]
struct Talk {
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
    /// The client has said something.
    async fn hear(&mut self, line: Bytes) {
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
                self.carrier.tell(error).await;
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

    /// Gives up what is under way.
    fn end(&mut self) {
        self.errands.abort_all();
        if let Some(listening) = &self.listening {
            listening.abort();
        }
    }
}

/// What a message takes while it is held or on its way.
fn cost(said: &Said) -> usize {
    said.text.len() + ENTRY
}
