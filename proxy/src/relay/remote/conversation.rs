//! Carries what the client says to the server, each message as an exchange, and what the server
//! says, on whichever stream, to the client.

use std::{pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body_util::BodyExt as _;
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use self::{errand::Errand, healing::has_forgotten, listening::Own};
use super::{
    awaited::{Awaited, Register},
    events::Messages,
    marks::{Marks, Shown, Unsent},
    mirror, passing,
    places::Places,
    problem::{Problem, Told},
    questions::Questions,
    said::{Said, messages},
    server::{Refusal, Response, Server, whole},
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
    traffic::{BodyKind, End, ResponseHead},
};

mod errand;
mod healing;
pub(super) mod listening;
mod listing;
mod resuming;

/// The pause before a stream is resumed if the server names none.
pub(super) const PAUSE: Duration = Duration::from_secs(1);
/// A stream that lasts for so long is none that ends at once.
pub(super) const A_WHILE: Duration = Duration::from_secs(1);
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
    pub(super) places: Places,
    register: Register,
    questions: Questions<State>,
    own: watch::Sender<Own>,
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

/// What the server said, and for whom that is.
struct Heard {
    text: Bytes,
    whom: Whom,
    /// What it answers that was asked on other exchanges.
    others: Vec<Arc<Awaited>>,
}

enum Whom {
    /// Whoever asked on this exchange, the client or the proxy.
    Asker,
    Client,
    /// It is an answer that nobody awaits, or that was there before.
    Nobody,
}

impl Unspoken {
    /// The same is asked by the other transport.
    pub(super) fn ask_again(mut self) {
        self.answer.end(End::AskedAgain);
    }
}

impl Conversation {
    /// One with so many requests in flight at most, and as many subscriptions.
    pub(super) fn new(server: Server, told: mpsc::Sender<Told>, in_flight: usize) -> Self {
        Self {
            server,
            session: Session::default(),
            tools: Tools::default(),
            told,
            places: Places::new(in_flight),
            register: Register::default(),
            questions: Questions::default(),
            own: watch::Sender::new(Own::Missing),
        }
    }

    /// Tells the client something.
    pub(super) async fn tell(&self, told: impl Into<Told>) {
        passing::tell(&self.told, told).await;
    }

    /// Carries a message to the server and what comes of it to the client.
    pub(super) async fn carry(&self, said: &Said, marks: &Marks) -> Carried {
        let unsent = Unsent::or(|| self.show_withdrawn(said));
        let place = tokio::select! {
            place = self.places.take(said) => place,
            // Not even on its way: the server hears of neither.
            () = marks.withdrawn.cancelled() => return Carried::Untaken,
        };
        let Ok(place) = place else { return Carried::Untaken };
        let begins = said.is(method::INITIALIZE);
        let state = if begins { State::default() } else { self.session_of(said) };
        let headers = self.headers(said, &state);
        let probes = self.server.observe(Method::POST, &headers);
        let mut errand = Errand::seen(said, marks, &headers, probes);
        unsent.sent();
        // What begins a session is answered where it is asked.
        let _entry = (!begins).then(|| self.register.enter(&said.asked, &marks.awaited));
        let carried = marks.hold(place, self.exchange(&mut errand, state)).await;
        match errand.unspoken.take() {
            Some(unspoken) => Carried::Unspoken(unspoken),
            None => self.settle(&errand, carried).await,
        }
    }

    /// The other transport is not spoken either: the client gets the answer that there was.
    pub(super) async fn refuse(&self, said: &Said, marks: &Marks, unspoken: Unspoken) {
        let Unspoken { refusal, answer } = unspoken;
        let mut errand = Errand::unseen(said, marks);
        errand.shown = Shown(answer);
        let refused = self.turned_down(&mut errand, &refusal).await;
        errand.finish(false);
        self.settle(&errand, refused).await;
    }

    /// Tells the client what it would else wait for.
    async fn settle(&self, errand: &Errand<'_>, carried: Result<(), Problem>) -> Carried {
        let came = if carried.is_ok() { Carried::Taken } else { Carried::Untaken };
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
        for asked in &errand.unanswered {
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
        Box::pin(async move {
            let carried = self.attempts(errand, state).await;
            errand.finish(matches!(carried, Err(Problem { end: End::TimedOut, .. })));
            carried
        })
    }

    async fn attempts(&self, errand: &mut Errand<'_>, mut state: State) -> Result<(), Problem> {
        let said = errand.said;
        let (mut healed, mut corrected) = (false, false);
        let response = loop {
            errand.under_way = Some(state.exchanges.token());
            let headers = self.headers(said, &state);
            let (text, sent) = (said.text(), &errand.marks.sent);
            let sent = self.server.send(&Method::POST, &headers, &text, &mut errand.question, sent);
            let Some(sent) = errand.patience.unless_over(sent).await else { return Ok(()) };
            let response = sent.inspect_err(|problem| errand.shown.0.end(problem.end))?;
            if response.status.is_success() {
                break response;
            }
            let refusal = response.refusal().await;
            let said_code = words::code(&refusal.body);
            // What the proxy says by itself may be what the session is being begun with.
            let heals = !healed && errand.kept.is_none();
            if heals && has_forgotten(&refusal, &headers, said) {
                healed = true;
                // What the client answers was asked in the session that is gone.
                if self.heal(state.generation).await.is_ok() && said.answers.is_empty() {
                    self.settled().await;
                    state = self.current();
                    // For the tap it belongs to the session that is gone.
                    errand.tied = false;
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
                let answer = errand.shown.take();
                errand.unspoken = Some(Unspoken { refusal, answer });
                return Err(problem);
            }
            return self.turned_down(errand, &refusal).await;
        };
        errand.marks.taken.cancel();
        errand.minted = response.headers.get(SESSION_ID).cloned();
        if said.is(method::INITIALIZE) {
            // Its stream is of the session that it begins.
            (state.id, state.generation) = (errand.minted.clone(), self.current().generation + 1);
        }
        if said.asked.is_empty() {
            errand.patience.last_words();
        }
        match response.kind() {
            BodyKind::EventStream => self.stream(errand, response, &state).await,
            BodyKind::Json => self.whole(errand, response, &state).await,
            BodyKind::Opaque => self.nothing(errand, response, &state).await,
        }
    }

    /// The response to a message of the session `of` is one message, or a batch of them.
    async fn whole(
        &self,
        errand: &mut Errand<'_>,
        response: Response,
        of: &State,
    ) -> Result<(), Problem> {
        errand.kind = Some(BodyKind::Json);
        let whole = errand.patience.unless_over(whole(response, &mut errand.shown.0)).await;
        let Some(whole) = whole else { return Ok(()) };
        let broken = |error| Problem::strange(format!("the answer broke off: {error}"));
        let (text, last) = whole.map_err(broken)?;
        if text.trim_ascii().is_empty() {
            return Ok(());
        }
        if let Some(heard) = self.hear(text, Some(errand), true, of) {
            errand.shown.0.data(&last);
            self.pass_on(heard, Some(errand)).await;
        }
        Ok(())
    }

    /// The response to a message of the session `of` says nothing.
    async fn nothing(
        &self,
        errand: &mut Errand<'_>,
        response: Response,
        of: &State,
    ) -> Result<(), Problem> {
        let status = response.status;
        let head = ResponseHead { status, body: BodyKind::Opaque, session: None };
        let mut download = response.unseen(&mut Answer(None));
        let rest = async { while let Some(Ok(_)) = download.frame().await {} };
        let _ = timeout(LAST_WORDS, rest).await;
        let asks = !errand.said.asked.is_empty();
        let nod = matches!(status, StatusCode::ACCEPTED | StatusCode::NO_CONTENT);
        let mut late = None;
        let begins = errand.said.is(method::INITIALIZE);
        if asks && nod && !begins && !errand.said.is_modern() {
            // Some servers answer on the stream that they have for everything else.
            let marks = errand.marks;
            let no_more = self.server.in_time(async {
                let mut own = self.own.subscribe();
                tokio::select! {
                    _ = own.wait_for(|own| *own == Own::Missing) => Ok(()),
                    () = marks.withdrawn.cancelled() => Ok(()),
                    () = self.session.replaced(of.generation) => Err(Problem::strange(
                        "no answer came, and the server has forgotten the session it belongs to",
                    )),
                }
            });
            let Some(no_more) = errand.patience.unless_over(no_more).await else { return Ok(()) };
            late = no_more.err();
        }
        errand.kind = Some(BodyKind::Opaque);
        errand.shown.0.head(|| head);
        if !asks {
            return Ok(());
        }
        let message = format!("the server answered {status} with neither JSON nor events");
        Err(late.unwrap_or_else(|| Problem::strange(message)))
    }

    /// The server's answer is not to the message, or in no way that ends well.
    async fn turned_down(&self, errand: &mut Errand<'_>, refusal: &Refusal) -> Result<(), Problem> {
        let left = errand.marks.awaited.left();
        let Some(told) = words::answers(refusal, &left) else {
            refusal.show(errand.shown.take());
            return Err(words::refused(refusal, self.server.url()));
        };
        refusal.show_as(&words::together(&told), errand.shown.take());
        for (asked, text) in left.iter().zip(told) {
            // Unless it has just been answered elsewhere.
            if errand.marks.awaited.answer(&asked.id, None) {
                let heard = Heard { text, whom: Whom::Asker, others: Vec::new() };
                self.pass_on(heard, Some(errand)).await;
            }
        }
        Ok(())
    }

    /// Reads a stream of the session `of` to its end, or as long as the errand takes whose answer
    /// comes on it; `own` says whether that is its own exchange.
    async fn events(
        &self,
        events: &mut Messages,
        download: &mut Download,
        mut errand: Option<&mut Errand<'_>>,
        own: bool,
        of: &State,
    ) -> Result<(), Problem> {
        loop {
            let frame = match &mut errand {
                Some(errand) => errand.patience.unless_over(download.frame()).await.flatten(),
                None => download.frame().await,
            };
            // A stream that breaks is one that ended: what was awaited tells what that means.
            let Some(Ok(frame)) = frame else { return Ok(()) };
            let Ok(chunk) = frame.into_data() else { continue };
            if let Some(errand) = errand.as_mut().filter(|_| own) {
                errand.shown.0.data(&chunk);
            }
            for text in events.read(&chunk).map_err(|error| Problem::strange(error.to_string()))? {
                if let Some(heard) = self.hear(text, errand.as_deref_mut(), own, of) {
                    self.pass_on(heard, errand.as_deref_mut()).await;
                }
            }
        }
    }

    /// Takes in what the server said in the session `of`, about an errand if it was on a stream of
    /// it; nothing if it is no message.
    fn hear(
        &self,
        mut text: Bytes,
        mut errand: Option<&mut Errand<'_>>,
        own: bool,
        of: &State,
    ) -> Option<Heard> {
        let begins = errand.as_ref().is_some_and(|errand| errand.said.is(method::INITIALIZE));
        let (mut begun, mut answers, mut nameless, mut more) = (None, Vec::new(), false, false);
        let frame = messages(&text, |message| match Kind::of(message) {
            Kind::Answer(id) => {
                answers.push(id);
                if begins && !jsonrpc::is_error(message) {
                    let version = message.text(Field::NegotiatedVersion);
                    begun = Some(version.and_then(|it| HeaderValue::from_str(&it).ok()));
                }
            }
            Kind::Refusal => nameless = true,
            kind => {
                self.questions.hear(kind, message, of);
                more = true;
            }
        });
        if frame != Frame::Whole {
            no_message();
            return None;
        }
        let (mut asker, mut others) = (false, Vec::new());
        let elsewhere = (!own).then_some(&text);
        for id in &answers {
            let awaited = errand.as_ref().map(|errand| &errand.marks.awaited);
            if awaited.is_some_and(|awaited| awaited.answer(id, elsewhere)) {
                asker = true;
            } else {
                others.extend(self.register.answer(id, &text));
            }
        }
        if let Some(errand) = &mut errand {
            if let Some(version) = begun.filter(|_| asker) {
                let minted = errand.minted.take();
                if errand.kept.is_none() {
                    self.session.begin(&errand.said.text(), minted, version);
                } else {
                    self.session.begin_anew(minted, version);
                }
            }
            if nameless
                && let [asked] = &errand.marks.awaited.left()[..]
                && let Some(named) = words::under_id(&text, asked)
            {
                text = named;
                errand.marks.awaited.answer(&asked.id, None);
            }
            asker |= nameless;
            if errand.kept.is_none()
                && errand.said.is_modern()
                && errand.said.is(method::TOOLS_LIST)
            {
                self.tools.learn(&text);
            }
        }
        let whom = if asker {
            Whom::Asker
        } else if more || nameless || !others.is_empty() {
            Whom::Client
        } else {
            Whom::Nobody
        };
        Some(Heard { text, whom, others })
    }

    /// Tells whomever it is for what the server said.
    async fn pass_on(&self, heard: Heard, mut errand: Option<&mut Errand<'_>>) {
        let Heard { text, whom, others } = heard;
        let kept = errand.as_mut().and_then(|errand| errand.kept.as_mut());
        match (whom, kept) {
            (Whom::Nobody, _) => tracing::debug!("an answer that nobody awaits is left out"),
            (Whom::Asker, Some(kept)) => kept.push(text),
            _ => self.tell(text).await,
        }
        // First the client, for who has waited for it may end the session.
        let here = errand.as_ref().map(|errand| &errand.marks.awaited);
        let here = here.filter(|_| errand.as_ref().is_some_and(|it| !it.said.asked.is_empty()));
        for awaited in here.into_iter().chain(&others).filter(|awaited| awaited.is_over()) {
            awaited.answered.cancel();
        }
    }

    fn current(&self) -> State {
        self.session.current()
    }

    /// The session in which to say this: what answers the server is for the one that asked.
    fn session_of(&self, said: &Said) -> State {
        let current = self.current();
        let asked = self.questions.answer(&said.answers).filter(|of| *of != current);
        asked.unwrap_or(current)
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
