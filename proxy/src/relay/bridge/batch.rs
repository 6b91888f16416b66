//! Several messages in one body, which only sessions of 2025-03-26 have. The program gets each
//! on a line of its own; the client gets the answers as they come, and nothing else there.

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};

use super::{
    accepts::Accepts,
    answers::{Answers, Asked},
    exchange::{Exchanges, NoSuchSession},
    modern::is_modern,
    objection::{code, faulty, missing},
    reply::{self, Reply},
    session::{Session, Unheard},
    splice::{Fault, Said},
};
use crate::{jsonrpc::Kind, mcp::method, relay::http::download::Answer};

/// What becomes of a message of a batch at first.
enum Fate {
    /// It wants no answer.
    Told,
    /// It is on its way.
    Asked(Asked),
    /// It did not get that far, as this error says.
    Refused(Bytes),
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
            Err(NoSuchSession) => return self.stray(None, answer),
        };
        let is_out_of_place =
            |said: &Said| said.version.is_some() || said.gist.is(method::INITIALIZE);
        if !session.has_batches() || batch.iter().any(is_out_of_place) {
            return faulty(&Fault::Batch, answer);
        }
        let (mut asked, mut refused) = (Vec::new(), Vec::new());
        for said in batch {
            match say(&session, said).await {
                Ok(Fate::Told) => {}
                Ok(Fate::Asked(request)) => asked.push(request),
                Ok(Fate::Refused(text)) => refused.push(text),
                Err(unheard) => return self.refused(unheard, None, answer),
            }
        }
        if asked.is_empty() && refused.is_empty() {
            return reply::aside(StatusCode::ACCEPTED, Bytes::new(), answer);
        }
        let (accepts, abandoned) = (Accepts::of(headers), self.abandoned.clone());
        Answers::new(asked, refused, accepts, answer, abandoned, self.giving_up()).response()
    }
}

/// Passes on one message.
async fn say(session: &Session, said: Said) -> Result<Fate, Unheard> {
    let Kind::Request(id) = said.gist.kind.clone() else {
        return session.tell(said).await.map(|()| Fate::Told);
    };
    match session.ask(said, false).await {
        Ok((inbox, _)) => Ok(Fate::Asked(Asked::new(id, inbox))),
        Err(Unheard::Over) => Err(Unheard::Over),
        Err(unheard) => {
            let text = reply::error(Some(&id.to_string()), code(unheard), &unheard.to_string());
            Ok(Fate::Refused(text))
        }
    }
}
