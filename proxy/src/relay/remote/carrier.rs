//! The two HTTP transports, as the loop needs them: it does not know which one carries.

use std::{sync::OnceLock, time::Duration};

use bytes::Bytes;
use http::StatusCode;
use tokio::{sync::mpsc, time::timeout};

use super::{
    conversation::{Carried, Conversation},
    legacy::Legacy,
    marks::Marks,
    problem::{Problem, Told},
    said::Said,
    server::Server,
};
use crate::traffic::{End, HttpTransport};

/// How long a server that spoke no streamable HTTP may take to announce an endpoint.
const ANNOUNCED_WITHIN: Duration = Duration::from_secs(5);

/// What carries messages to the server, and what it says to the client.
#[derive(Debug)]
pub(super) struct Carrier {
    configured: Transport,
    /// What the server turned out to speak instead.
    found: OnceLock<Transport>,
    in_flight: usize,
    /// Whether to look what else it may speak.
    falls_back: bool,
}

#[derive(Debug)]
enum Transport {
    /// Streamable HTTP.
    Streamable(Conversation),
    /// HTTP+SSE (2024-11-05).
    Legacy(Legacy),
}

impl Carrier {
    /// What carries to this server. So many requests are in flight at most, the rest wait. One
    /// that `falls_back` goes on by HTTP+SSE where that is what the server speaks.
    pub(super) fn to(
        server: Server,
        told: mpsc::Sender<Told>,
        in_flight: usize,
        falls_back: bool,
    ) -> Self {
        let configured = match server.transport() {
            HttpTransport::Streamable => {
                Transport::Streamable(Conversation::new(server, told, in_flight))
            }
            HttpTransport::LegacySse => Transport::Legacy(Legacy::new(server, told, in_flight)),
        };
        Self { configured, found: OnceLock::new(), in_flight, falls_back }
    }

    fn spoken(&self) -> &Transport {
        self.found.get().unwrap_or(&self.configured)
    }

    /// Carries a message to the server and sees to it that it is answered. Returns whether the
    /// server took it.
    pub(super) async fn carry(&self, said: &Said, marks: &Marks) -> bool {
        loop {
            let conversation = match self.spoken() {
                Transport::Streamable(conversation) => conversation,
                Transport::Legacy(legacy) => return legacy.carry(said, marks).await,
            };
            let unspoken = match conversation.carry(said, marks).await {
                Carried::Taken => return true,
                Carried::Untaken => return false,
                Carried::Unspoken(unspoken) => unspoken,
            };
            let Some(legacy) = self.other(conversation, unspoken.refusal.status).await else {
                conversation.refuse(said, marks, unspoken).await;
                return false;
            };
            unspoken.ask_again();
            self.found.get_or_init(|| Transport::Legacy(legacy));
        }
    }

    /// Tells the client something.
    pub(super) async fn tell(&self, told: Told) {
        match self.spoken() {
            Transport::Streamable(conversation) => conversation.tell(told).await,
            Transport::Legacy(legacy) => legacy.tell(told).await,
        }
    }

    /// Shows the tap a message that the client withdrew before it was sent.
    pub(super) fn show_withdrawn(&self, said: &Said) {
        match self.spoken() {
            Transport::Streamable(conversation) => conversation.show_withdrawn(said),
            Transport::Legacy(legacy) => legacy.show_withdrawn(said),
        }
    }

    /// Whether to cancel this request is to leave its exchange.
    pub(super) fn is_left_by_leaving(&self, said: &Said) -> bool {
        // On HTTP+SSE nothing ends with the exchange of a request.
        matches!(self.spoken(), Transport::Streamable(_)) && said.is_modern()
    }

    /// The server has been told that the client is ready.
    pub(super) fn ready(&self, initialized: &Bytes) {
        match self.spoken() {
            Transport::Streamable(conversation) => conversation.ready(initialized),
            Transport::Legacy(legacy) => legacy.ready(initialized),
        }
    }

    /// Keeps the stream open on which the server says what it says by itself.
    pub(super) async fn listen(&self) {
        match self.spoken() {
            Transport::Streamable(conversation) => conversation.listen().await,
            Transport::Legacy(legacy) => legacy.listen().await,
        }
    }

    /// Waits until it is known whether there is such a stream, if not for long.
    pub(super) async fn settled(&self) {
        match self.spoken() {
            Transport::Streamable(conversation) => conversation.settled().await,
            // There was one before there was a session.
            Transport::Legacy(_) => {}
        }
    }

    /// Ends the session, if there is one that can be.
    pub(super) async fn leave(&self) {
        match self.spoken() {
            Transport::Streamable(conversation) => conversation.leave().await,
            Transport::Legacy(legacy) => legacy.leave(),
        }
    }

    /// The transport of 2024-11-05, if it is what a server speaks that refused `initialize`.
    async fn other(&self, conversation: &Conversation, status: StatusCode) -> Option<Legacy> {
        if !self.falls_back {
            return None;
        }
        let server = conversation.server.spoken_to_by(HttpTransport::LegacySse);
        let legacy = Legacy::new(server, conversation.told.clone(), self.in_flight);
        let announced = timeout(ANNOUNCED_WITHIN, legacy.announce()).await;
        let late = |_| {
            let message = format!("none within {} s", ANNOUNCED_WITHIN.as_secs());
            Err(Problem::new(message, End::TimedOut))
        };
        let said = format!("the server answered initialize with {status} and announces");
        match announced.unwrap_or_else(late) {
            Ok(()) => {
                tracing::info!("{said} an endpoint of HTTP+SSE: on with that, as in the mode sse");
                Some(legacy)
            }
            Err(problem) => {
                tracing::info!("{said} no endpoint of HTTP+SSE: {problem}");
                None
            }
        }
    }
}
