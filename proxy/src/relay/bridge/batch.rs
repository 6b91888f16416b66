//! Several messages in one body, which only sessions of 2025-03-26 have. The program gets each
//! on a line of its own; the client gets the answers together, and nothing else there.

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};

use super::{
    accepts::Accepts,
    exchange::{Exchanges, NoSuchSession, given},
    modern::is_modern,
    objection::{code, faulty, missing, stray},
    outbox::Inbox,
    reply::{self, First, INTERNAL, LOST, Reply},
    session::{Session, Unheard},
    splice::{Fault, Said},
};
use crate::{
    jsonrpc::{Id, Kind},
    mcp::method,
    relay::http::{counters::Failed, download::Answer},
    traffic::{BodyKind, End, ResponseHead},
};

/// A request of a batch: on its way, or answered already.
enum Asked {
    Waits(Id, Inbox),
    Answered(Bytes),
}

impl Exchanges {
    /// A POST of a batch.
    pub(super) async fn batch(
        &self,
        headers: &HeaderMap,
        batch: Vec<Said>,
        answer: Answer,
    ) -> Response<Reply> {
        if is_modern(headers) {
            return faulty(&Fault::Batch, answer);
        }
        let session = match self.session(headers) {
            Ok(Some(session)) => session,
            Ok(None) => return missing(None, answer),
            Err(NoSuchSession) => return stray(None, answer),
        };
        let is_out_of_place =
            |said: &Said| said.version.is_some() || said.gist.is(method::INITIALIZE);
        if !session.has_batches() || batch.iter().any(is_out_of_place) {
            return faulty(&Fault::Batch, answer);
        }
        let mut asked = Vec::new();
        for said in batch {
            match say(&session, said).await {
                Ok(None) => {}
                Ok(Some(request)) => asked.push(request),
                Err(unheard) => return self.refused(unheard, None, answer),
            }
        }
        if asked.is_empty() {
            return reply::aside(StatusCode::ACCEPTED, Bytes::new(), answer);
        }
        self.answers(asked, Accepts::of(headers), answer).await
    }

    /// Waits for all answers.
    async fn answers(
        &self,
        asked: Vec<Asked>,
        accepts: Accepts,
        mut answer: Answer,
    ) -> Response<Reply> {
        let (mut answers, mut lost) = (Vec::new(), Vec::new());
        for request in asked {
            let (id, mut inbox) = match request {
                Asked::Answered(text) => {
                    answers.push(text);
                    continue;
                }
                Asked::Waits(id, inbox) => (id, inbox),
            };
            match self.first(&mut inbox, None).await {
                Some(First::Answer(text, _)) => answers.push(text),
                Some(First::Failed(text, _)) => lost.push(text),
                Some(_) => lost.push(reply::error(Some(&id.to_string()), INTERNAL, LOST)),
                None => return self.shutting_down(&id, answer),
            }
        }
        let body = array(&answers);
        if lost.is_empty() {
            return given(StatusCode::OK, body, accepts, None, answer);
        }
        // What the bridge says for the program is not shown, as elsewhere.
        self.counters.count_failed(Failed::Broken);
        let status = StatusCode::OK;
        answer.head(|| ResponseHead { status, body: BodyKind::Json, session: None });
        answer.data(&body);
        answer.end(End::ServerGone);
        answers.append(&mut lost);
        reply::unseen(status, array(&answers))
    }
}

/// Passes on one message.
async fn say(session: &Session, said: Said) -> Result<Option<Asked>, Unheard> {
    let Kind::Request(id) = said.gist.kind.clone() else {
        return session.tell(said).await.map(|()| None);
    };
    match session.ask(said, false).await {
        Ok((inbox, _)) => Ok(Some(Asked::Waits(id, inbox))),
        Err(Unheard::Over) => Err(Unheard::Over),
        Err(unheard) => {
            let text = reply::error(Some(&id.to_string()), code(unheard), &unheard.to_string());
            Ok(Some(Asked::Answered(text)))
        }
    }
}

fn array(answers: &[Bytes]) -> Bytes {
    let answers = answers.join(&b","[..]);
    Bytes::from([b"[", &*answers, b"]"].concat())
}
