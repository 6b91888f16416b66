//! A remote server for a client on our standard streams. Each line of the client is a POST of
//! its own, and whatever the server says, on whichever stream, is a line for it.
//!
//! `client` reads and writes lines, `said` tells what they want, and `talk` decides what may leave
//! when, by the `places` there are and the `marks` of what has left. The `carrier` is one of two:
//! the `conversation` carries each message by the `server`, with the headers of its `session` or
//! those that `mirror` makes of it, and reads the `events` that come back; `legacy` does so where
//! all that comes back comes on one `line`. Either remembers the `questions` of the server. They put into `words` what became of a message without
//! an answer. The tap is shown the HTTP side, with the ids of the client: they are not changed.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until};

use super::http::Counters;
use crate::{
    config::Remote, ready::Gate, relay::stdio::Client as Streams, shutdown::Shutdown, tap::Tap,
    traffic::HttpTransport,
};

mod awaited;
mod carrier;
mod client;
mod conversation;
mod events;
mod legacy;
mod line;
mod marks;
mod mirror;
mod passing;
mod places;
pub(in crate::relay) mod problem;
mod questions;
pub(in crate::relay) mod rights;
mod said;
pub(in crate::relay) mod server;
mod session;
pub(in crate::relay) mod talk;
mod words;

use self::{
    client::Client,
    rights::Rights,
    server::{Reach, Server},
    talk::Talk,
};

/// Requests of the client in flight at once; the rest wait.
const IN_FLIGHT: usize = 128;
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
    /// Whether anybody can ask for that: else the server is not dialled for nothing.
    pub watched: bool,
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
        let Self { client, remote, transport, server_id, tap, gate, watched, shutdown, counters } =
            self;
        let reach = Arc::new(Reach::alone(remote, transport, gate, counters)?);
        let shown = Some((tap.clone(), server_id));
        let server = Server::new(Arc::clone(&reach), shown, Rights::default());
        let Client { lines, told, heard } = Client::start(client.input, client.output)?;
        let mut talk = Talk::new(server, told, IN_FLIGHT);
        let grace = tokio::select! {
            () = talk.run(lines) => INPUT_ENDED,
            () = stop => STOPPED,
            () = heard.cancelled() => INPUT_ENDED,
            () = reach.keep(watched) => INPUT_ENDED,
        };
        let begun = Instant::now();
        shutdown.begin(grace.flush);
        talk.end(begun + grace.answers, begun + grace.leave).await;
        tokio::select! {
            () = heard.cancelled() => {}
            () = sleep_until(begun + grace.flush) => {}
        }
        Ok(())
    }
}
