//! A message on its way, as the conversation that carries it sees it.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};

use super::{Answer, Marks, Server, Unspoken};
use crate::{
    relay::remote::said::{Asked, Said},
    tap::Probe,
    traffic::End,
};

/// A message on its way, and what is awaited for it.
pub(super) struct Errand<'a> {
    pub(super) said: &'a Said,
    /// What others know of it.
    pub(super) marks: &'a Marks,
    /// Answers that are still to come.
    pub(super) asked: Vec<Asked>,
    /// The session that the response began.
    pub(super) minted: Option<HeaderValue>,
    /// What the server says, where it is the proxy that asks and not the client.
    pub(super) kept: Option<Vec<Bytes>>,
    /// Shows the tap what is asked, once, and what is answered.
    pub(super) question: Option<Probe>,
    pub(super) answer: Option<Answer>,
    /// The server seems not to speak this transport.
    pub(super) unspoken: Option<Unspoken>,
}

impl<'a> Errand<'a> {
    pub(super) fn new(
        said: &'a Said,
        marks: &'a Marks,
        server: &Server,
        headers: &HeaderMap,
    ) -> Self {
        let (question, answer) = server.observe(Method::POST, headers);
        Self { question, answer: Some(answer), ..Self::unseen(said, marks) }
    }

    /// One that the tap is not shown.
    pub(super) fn unseen(said: &'a Said, marks: &'a Marks) -> Self {
        Self {
            said,
            marks,
            asked: said.asked.clone(),
            minted: None,
            kept: None,
            question: None,
            answer: None,
            unspoken: None,
        }
    }

    /// How the exchange that carried it has ended for the tap: whoever still waits for an answer
    /// is told by the proxy that there is none.
    pub(super) fn end(&self) -> End {
        let waits = !self.asked.is_empty() && !self.marks.withdrawn.is_cancelled();
        if waits { End::GivenUp } else { End::Clean }
    }

    /// One of the proxy's own.
    pub(super) fn own(self) -> Self {
        Self { kept: Some(Vec::new()), ..self }
    }
}
