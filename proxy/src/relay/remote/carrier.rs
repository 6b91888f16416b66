//! The two HTTP transports, as the loop needs them: it does not know which one carries.

use bytes::Bytes;

use super::{
    conversation::{Conversation, Marks},
    legacy::Legacy,
    said::Said,
};

/// What carries messages to the server, and what it says to the client.
#[derive(Debug)]
pub(super) enum Carrier {
    /// Streamable HTTP.
    Streamable(Conversation),
    /// HTTP+SSE (2024-11-05).
    Legacy(Legacy),
}

impl Carrier {
    /// Carries a message to the server and sees to it that it is answered. Returns whether the
    /// server took it.
    pub(super) async fn carry(&self, said: &Said, marks: &Marks) -> bool {
        match self {
            Self::Streamable(conversation) => conversation.carry(said, marks).await,
            Self::Legacy(legacy) => legacy.carry(said, marks).await,
        }
    }

    /// Tells the client something.
    pub(super) async fn tell(&self, line: Bytes) {
        match self {
            Self::Streamable(conversation) => conversation.tell(line).await,
            Self::Legacy(legacy) => legacy.tell(line).await,
        }
    }

    /// Whether to cancel this request is to leave its exchange.
    pub(super) fn is_left_by_leaving(&self, said: &Said) -> bool {
        // On HTTP+SSE nothing ends with the exchange of a request.
        matches!(self, Self::Streamable(_)) && said.is_modern()
    }

    /// The server has been told that the client is ready.
    pub(super) fn ready(&self, initialized: &Bytes) {
        match self {
            Self::Streamable(conversation) => conversation.session.ready(initialized),
            Self::Legacy(legacy) => legacy.ready(initialized),
        }
    }

    /// Keeps the stream open on which the server says what it says by itself.
    pub(super) async fn listen(&self) {
        match self {
            Self::Streamable(conversation) => conversation.listen().await,
            Self::Legacy(legacy) => legacy.listen().await,
        }
    }

    /// Never ends: closes connections that are unused for too long.
    pub(super) async fn keep(&self) {
        match self {
            Self::Streamable(conversation) => conversation.server.keep().await,
            Self::Legacy(legacy) => legacy.server.keep().await,
        }
    }

    /// Ends the session, if there is one that can be.
    pub(super) async fn leave(&self) {
        match self {
            Self::Streamable(conversation) => conversation.leave().await,
            Self::Legacy(legacy) => legacy.leave(),
        }
    }
}
