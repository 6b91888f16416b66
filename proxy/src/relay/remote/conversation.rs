//! Carries what the client says to the server, each message as an exchange, and what the server
//! says, on whichever stream, to the client.

use std::{pin::Pin, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body_util::BodyExt as _;
use tokio::{
    sync::{Semaphore, mpsc},
    time::{Instant, sleep_until, timeout},
};

use self::{errand::Errand, healing::has_forgotten};
use super::{
    events::Messages,
    marks::Marks,
    mirror, passing,
    problem::{Problem, Told},
    said::{Said, messages},
    server::{Refusal, Server, whole},
    session::{Session, State},
    words,
};
use crate::{
    jsonrpc::{self, Kind},
    mcp::{Field, code, header::SESSION_ID, method},
    relay::{
        http::download::{Answer, Download},
        mirrored::Tools,
    },
    scan::Frame,
    traffic::{BodyKind, End},
};

mod errand;
mod healing;
pub(super) mod listening;
mod listing;
mod resuming;

/// The pause before a stream is resumed if the server names none.
pub(super) const PAUSE: Duration = Duration::from_secs(1);
/// How long a server may leave a stream open on which it owes nothing any more.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(1);

/// A conversation with a server.
#[derive(Debug)]
pub(super) struct Conversation {
    pub(super) server: Server,
    pub(super) session: Session,
    /// What is known of the server's tools.
    tools: Tools,
    pub(super) told: mpsc::Sender<Told>,
    slots: Semaphore,
}

/// What became of a message.
pub(super) enum Carried {
    /// The server took it.
    Taken,
    /// It did not, and who asked has been told.
    Untaken,
    /// The server refused to begin a session as one does that speaks the other transport.
    /// Nobody has been told yet.
    Unspoken(Unspoken),
}

/// What was answered in place of a session, and where the tap waits for it.
pub(super) struct Unspoken {
    pub(super) refusal: Refusal,
    answer: Answer,
}

/// What the server said about a message.
struct Heard {
    text: Bytes,
    /// Answers are among it, and not only what it says meanwhile.
    answers: bool,
}

impl Unspoken {
    /// The same is asked by the other transport.
    pub(super) fn ask_again(mut self) {
        self.answer.end(End::AskedAgain);
    }
}

impl Conversation {
    /// One with so many requests in flight at most.
    pub(super) fn new(server: Server, told: mpsc::Sender<Told>, in_flight: usize) -> Self {
        let slots = Semaphore::new(in_flight);
        let (session, tools) = (Session::default(), Tools::default());
        Self { server, session, tools, told, slots }
    }

    /// Tells the client something.
    pub(super) async fn tell(&self, told: impl Into<Told>) {
        passing::tell(&self.told, told).await;
    }

    /// Carries a message to the server and what comes of it to the client.
    pub(super) async fn carry(&self, said: &Said, marks: &Marks) -> Carried {
        let state = if said.is(method::INITIALIZE) { State::default() } else { self.current() };
        let headers = self.headers(said, &state);
        let asks = !said.asked.is_empty();
        let slot = async { if asks { self.slots.acquire().await.ok() } else { None } };
        let slot = tokio::select! {
            slot = slot => slot,
            // Not even on its way: the server hears of neither.
            () = marks.withdrawn.cancelled() => return Carried::Untaken,
        };
        let mut errand = Errand::new(said, marks, &self.server, &headers);
        let carried = marks.hold(slot, self.exchange(&mut errand, state)).await;
        match errand.unspoken.take() {
            Some(unspoken) => Carried::Unspoken(unspoken),
            None => self.settle(&errand, carried).await,
        }
    }

    /// The other transport is not spoken either: the client gets the answer that there was.
    pub(super) async fn refuse(&self, said: &Said, marks: &Marks, unspoken: Unspoken) {
        let Unspoken { refusal, answer } = unspoken;
        let mut errand = Errand::unseen(said, marks);
        let refused = self.turned_down(&mut errand, &refusal, answer).await;
        self.settle(&errand, refused).await;
    }

    /// Tells the client what it would else wait for.
    async fn settle(&self, errand: &Errand<'_>, carried: Result<(), Problem>) -> Carried {
        let came = if carried.is_ok() { Carried::Taken } else { Carried::Untaken };
        if errand.marks.withdrawn.is_cancelled() {
            return came;
        }
        let said = errand.said;
        if let Err(problem) = &carried
            && said.asked.is_empty()
        {
            let method = said.method.as_deref().unwrap_or("a response");
            tracing::warn!("{method} did not reach the server: {problem}");
        }
        let problem = match carried {
            Ok(()) => Problem::strange("the server ended the exchange without an answer"),
            Err(problem) => problem,
        };
        for asked in &errand.asked {
            self.tell(words::failed(asked, &problem)).await;
        }
        came
    }

    /// One message and all that comes of it. Only what was certainly not taken is repeated.
    fn exchange<'a>(
        &'a self,
        errand: &'a mut Errand<'_>,
        state: State,
    ) -> Pin<Box<dyn Future<Output = Result<(), Problem>> + Send + 'a>> {
        // To repeat a message takes others of the proxy's own: boxed, for it comes back here.
        Box::pin(self.attempts(errand, state))
    }

    async fn attempts(&self, errand: &mut Errand<'_>, mut state: State) -> Result<(), Problem> {
        let said = errand.said;
        let mut answer = errand.answer.take().unwrap_or(Answer(None));
        let (mut healed, mut corrected) = (false, false);
        let response = loop {
            let headers = self.headers(said, &state);
            let (probe, sent) = (&mut errand.question, &errand.marks.sent);
            let text = said.text();
            let sent = self.server.send(&Method::POST, &headers, &text, probe, sent);
            let response = sent.await.inspect_err(|problem| answer.end(problem.end))?;
            if response.status.is_success() {
                break response;
            }
            let refusal = response.refusal().await;
            let said_code = words::code(&refusal.body);
            if !healed && has_forgotten(&refusal, &headers, errand) {
                healed = true;
                if self.heal(state.generation).await.is_ok() {
                    state = self.current();
                    continue;
                }
            }
            if said_code == Some(code::HEADER_MISMATCH) && said.is(method::TOOLS_CALL) && !corrected
            {
                corrected = true;
                if self.learn(said).await {
                    continue;
                }
            }
            let begins = said.is(method::INITIALIZE) && self.current().generation == 0;
            if begins && words::may_be_of_http_sse(&refusal) {
                let problem = words::refused(&refusal, self.server.url());
                errand.unspoken = Some(Unspoken { refusal, answer });
                return Err(problem);
            }
            return self.turned_down(errand, &refusal, answer).await;
        };
        errand.marks.taken.cancel();
        errand.minted = response.headers.get(SESSION_ID).cloned();
        if said.is(method::INITIALIZE) {
            // Its stream is of the session that it begins.
            (state.id, state.generation) = (errand.minted.clone(), self.current().generation);
        }
        match response.kind() {
            BodyKind::EventStream => self.stream(errand, response, answer, &state).await,
            BodyKind::Json => {
                let whole = whole(response, &mut answer);
                let whole = if errand.asked.is_empty() {
                    timeout(LAST_WORDS, whole).await.unwrap_or_else(|_| Ok(Default::default()))
                } else {
                    whole.await
                };
                let (text, last) = whole
                    .inspect_err(|_| answer.end(errand.end()))
                    .map_err(|error| Problem::strange(format!("the answer broke off: {error}")))?;
                let blank = text.trim_ascii().is_empty();
                let heard = if blank { None } else { self.hear(text, errand) };
                if heard.is_some() {
                    answer.data(&last);
                }
                answer.end(errand.end());
                if let Some(heard) = heard {
                    self.pass_on(heard, errand).await;
                }
                Ok(())
            }
            BodyKind::Opaque => {
                let status = response.status;
                let mut download = response.unseen(&mut answer);
                let rest = async { while let Some(Ok(_)) = download.frame().await {} };
                let _ = timeout(LAST_WORDS, rest).await;
                answer.end(errand.end());
                if errand.asked.is_empty() {
                    return Ok(());
                }
                let message = format!("the server answered {status} with neither JSON nor events");
                Err(Problem::strange(message))
            }
        }
    }

    /// The server's answer is not to the message, or in no way that ends well.
    async fn turned_down(
        &self,
        errand: &mut Errand<'_>,
        refusal: &Refusal,
        answer: Answer,
    ) -> Result<(), Problem> {
        let needs_login =
            matches!(refusal.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        if !needs_login
            && let [asked] = &errand.asked[..]
            && let Some(told) = words::under_id(&refusal.body, asked)
        {
            refusal.show_as(&told, answer);
            errand.asked.clear();
            self.hand_over(errand, told).await;
            return Ok(());
        }
        refusal.show(answer);
        Err(words::refused(refusal, self.server.url()))
    }

    /// Reads a stream of events to its end, or until nothing more is awaited of it: then it has
    /// [`LAST_WORDS`], whatever it says.
    async fn events(
        &self,
        events: &mut Messages,
        download: &mut Download,
        mut errand: Option<&mut Errand<'_>>,
    ) -> Result<(), Problem> {
        let mut until = None;
        loop {
            if errand.as_ref().is_some_and(|errand| errand.asked.is_empty()) {
                until.get_or_insert_with(|| Instant::now() + LAST_WORDS);
            }
            let frame = match until {
                // First the time: a server may always have something to say.
                Some(until) => tokio::select! {
                    biased;
                    () = sleep_until(until) => None,
                    frame = download.frame() => frame,
                },
                None => download.frame().await,
            };
            // A stream that breaks is one that ended: what was awaited tells what that means.
            let Some(Ok(frame)) = frame else { return Ok(()) };
            let Ok(chunk) = frame.into_data() else { continue };
            for text in events.read(&chunk).map_err(|error| Problem::strange(error.to_string()))? {
                match &mut errand {
                    Some(errand) => self.pass(text, errand).await,
                    None if messages(&text, |_| {}) == Frame::Whole => self.tell(text).await,
                    None => no_message(),
                }
            }
        }
    }

    /// Passes on what the server said about a message.
    async fn pass(&self, text: Bytes, errand: &mut Errand<'_>) {
        if let Some(heard) = self.hear(text, errand) {
            self.pass_on(heard, errand).await;
        }
    }

    /// Takes in what the server said about a message; nothing if it is no message.
    fn hear(&self, mut text: Bytes, errand: &mut Errand<'_>) -> Option<Heard> {
        let said = errand.said;
        let (mut begun, mut answered, mut nameless) = (None, Vec::new(), false);
        let frame = messages(&text, |message| match Kind::of(message) {
            Kind::Answer(id) => {
                answered.push(id);
                if said.is(method::INITIALIZE) && !jsonrpc::is_error(message) {
                    let version = message.text(Field::NegotiatedVersion);
                    begun = Some(version.and_then(|it| HeaderValue::from_str(&it).ok()));
                }
            }
            Kind::Refusal => nameless = true,
            _ => {}
        });
        if frame != Frame::Whole {
            no_message();
            return None;
        }
        errand.asked.retain(|asked| !answered.contains(&asked.id));
        if let Some(version) = begun {
            self.session.begin(&said.text(), errand.minted.take(), version);
        }
        if nameless
            && let [asked] = &errand.asked[..]
            && let Some(named) = words::under_id(&text, asked)
        {
            text = named;
            errand.asked.clear();
        }
        if errand.kept.is_none() && said.is_modern() && said.is(method::TOOLS_LIST) {
            self.tools.learn(&text);
        }
        Some(Heard { text, answers: nameless || !answered.is_empty() })
    }

    async fn pass_on(&self, Heard { text, answers }: Heard, errand: &mut Errand<'_>) {
        // Whatever else the server says meanwhile is for the client.
        if answers {
            self.hand_over(errand, text).await;
        } else {
            self.tell(text).await;
        }
    }

    /// Hands an answer of the server to whoever asked.
    async fn hand_over(&self, errand: &mut Errand<'_>, text: Bytes) {
        match &mut errand.kept {
            Some(kept) => kept.push(text),
            None => self.tell(text).await,
        }
        if errand.asked.is_empty() {
            errand.marks.answered.cancel();
        }
    }

    fn current(&self) -> State {
        self.session.current()
    }

    fn headers(&self, said: &Said, state: &State) -> HeaderMap {
        let mut headers = HeaderMap::new();
        match &said.version {
            Some(version) => mirror::put(&self.tools, said, version, &mut headers),
            None => state.put(&mut headers),
        }
        headers
    }
}

/// Says that what came is left out.
pub(super) fn no_message() {
    tracing::warn!("the server sent what is no JSON-RPC message; it is left out");
}
