//! Carries what the client says to a server of HTTP+SSE (2024-11-05): each message is a POST that
//! is answered by a nod, and whatever the server says comes on one stream, which is the session.
//! When it breaks, all that is asked fails at once, and the next stream is begun as the client
//! began the first.

use std::{
    pin::pin,
    sync::{Arc, PoisonError},
};

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::BodyExt as _;
use tokio::{
    sync::{AcquireError, Mutex, mpsc},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    conversation::{A_WHILE, LAST_WORDS, PAUSE, listening::LONGEST_PAUSE},
    events::Messages,
    line::{Awaited, Line, Reading, all_answered},
    marks::{Marks, Shown, Unsent},
    passing,
    places::Places,
    problem::{Problem, Refused, Told},
    questions::Questions,
    said::{Asked, Said},
    server::{Refusal, Response, Server, whole},
    session::{BEGUN_WITHIN, Session},
    words,
};
use crate::{
    config::shown,
    mcp::method,
    relay::http::download::Answer,
    traffic::{BodyKind, End, HttpTransport, ResponseHead},
};

/// Why there is no answer to what was asked on a stream.
const ENDED: &str = "the server ended the stream on which it answers; the request is not sent \
                     again, for it may have been worked on";

/// Why an answer of the client goes nowhere.
const ASKED_BEFORE: &str = "the server has ended the stream on which it asked";

/// A conversation with a server.
#[derive(Debug)]
pub(super) struct Legacy {
    /// Where the stream is.
    pub(super) server: Server,
    session: Session,
    told: mpsc::Sender<Told>,
    places: Places,
    /// Held by the one who opens the stream, while others wait for it.
    line: Mutex<State>,
    /// The one that was announced last, though no session may have begun on it.
    latest: std::sync::Mutex<Option<Arc<Line>>>,
    /// By the number of the stream.
    questions: Arc<Questions<u64>>,
    /// Cancelled when the client has left.
    over: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    line: Option<Arc<Line>>,
    /// Why there is none, and when that was.
    failed: Option<(Instant, Problem)>,
}

impl Legacy {
    /// One with so many requests in flight at most.
    pub(super) fn new(server: Server, told: mpsc::Sender<Told>, in_flight: usize) -> Self {
        Self {
            server,
            session: Session::default(),
            told,
            places: Places::new(in_flight),
            line: Mutex::default(),
            latest: std::sync::Mutex::default(),
            questions: Arc::default(),
            over: CancellationToken::new(),
        }
    }

    /// Tells the client something.
    pub(super) async fn tell(&self, told: impl Into<Told>) {
        passing::tell(&self.told, told).await;
    }

    /// The server has been told that the client is ready.
    pub(super) fn ready(&self, initialized: &Bytes) {
        self.session.ready(initialized);
    }

    /// Ends the session, which ends with its stream.
    pub(super) fn leave(&self) {
        // Nothing more is sent.
        self.places.close();
        self.over.cancel();
    }

    /// Opens the stream again whenever it has ended: what the server says by itself comes on it.
    pub(super) async fn listen(&self) {
        let mut pause = PAUSE;
        loop {
            match self.open(true).await {
                Ok(line) => {
                    let begun = Instant::now();
                    line.ended().await;
                    // Some have a limit to how long a stream may last.
                    if line.was_useful() || begun.elapsed() >= A_WHILE {
                        pause = PAUSE;
                    }
                }
                Err(problem) => tracing::debug!("open a stream: {problem}"),
            }
            sleep(pause).await;
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }

    /// Opens the stream on which the client then begins the session.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn announce(&self) -> Result<(), Problem> {
        self.open(false).await.map(drop)
    }

    /// Carries a message to the server and waits until it has been answered on the stream.
    /// Returns whether the server took it. Nothing is ever repeated.
    pub(super) async fn carry(&self, said: &Said, marks: &Marks) -> bool {
        let asks = !said.asked.is_empty();
        let unsent = Unsent::or(|| self.show_withdrawn(said));
        let begin = async {
            let place = self.places.take(said).await?;
            Ok::<_, AcquireError>((place, self.line_for(said).await))
        };
        let begun = tokio::select! {
            begun = begin => begun,
            // Not even on its way: the server hears of neither.
            () = marks.withdrawn.cancelled() => return false,
        };
        let Ok((place, line)) = begun else { return false };
        unsent.sent();
        let (left, carried) = match line {
            Ok(line) => {
                let mut awaited = line.expect(&said.asked, false);
                let exchange = Box::pin(self.exchange(&line, said, marks, &mut awaited, false));
                let carried = marks.hold(place, exchange).await;
                let left = if carried.is_ok() { Vec::new() } else { line.give_up(awaited) };
                (left, carried)
            }
            Err(unopened) => {
                self.show_unsent(said, &unopened);
                (said.asked.clone(), Err(unopened))
            }
        };
        let taken = carried.is_ok();
        let Err(problem) = carried else { return taken };
        if self.over.is_cancelled() {
            // It is we who ended the stream: the client is told nothing more.
            return taken;
        }
        if !asks {
            let method = said.method.as_deref().unwrap_or("a response");
            tracing::warn!("{method} did not reach the server: {problem}");
        }
        for asked in &left {
            self.tell(words::failed(asked, &problem)).await;
        }
        taken
    }

    /// One message and its answers, or as far as anybody waits for them; `again` says that the
    /// client said it before.
    async fn exchange(
        &self,
        line: &Line,
        said: &Said,
        marks: &Marks,
        awaited: &mut [Awaited],
        again: bool,
    ) -> Result<(), Problem> {
        let headers = HeaderMap::new();
        let begins = (said.is(method::INITIALIZE) && !again).then_some(said);
        let (mut question, answer) = if again {
            line.posts.observe_again(&headers)
        } else {
            line.posts.observe(Method::POST, &headers)
        };
        let mut shown = Shown(answer);
        let post = async {
            // Held no longer than until the server has taken it.
            let text = said.text();
            line.posts.send(&Method::POST, &headers, &text, &mut question, &marks.sent).await
        };
        let mut post = pin!(post);
        let posted = tokio::select! {
            posted = &mut post => {
                Some(posted.inspect_err(|problem| shown.0.end(problem.end))?)
            }
            () = line.ended() => {
                shown.0.end(self.broken());
                return Err(Problem::new(ENDED, self.broken()));
            }
            // A nod that comes later than the answer is worth a moment, for its connection.
            true = all_answered(awaited), if !awaited.is_empty() => {
                self.answered(begins, marks, awaited);
                timeout(LAST_WORDS, &mut post).await.ok().and_then(Result::ok)
            }
        };
        let mut nod = None;
        if let Some(response) = posted {
            if response.status.is_success() {
                marks.taken.cancel();
                nod = Some(response);
            } else {
                let left: Vec<_> = awaited.iter().filter_map(Awaited::left).cloned().collect();
                let refusal = response.refusal().await;
                self.turned_down(line, &refusal, &left, shown.take()).await?;
            }
        }
        // The tap is told of the end of the exchange when it is known what came of it.
        let nod = async {
            if let Some(nod) = nod {
                self.take_nod(line, nod, said, &mut shown.0).await;
            }
        };
        let last_words = async {
            tokio::select! {
                () = marks.answered.cancelled() => {}
                () = marks.withdrawn.cancelled() => {}
                () = line.ended() => {}
            }
            sleep(LAST_WORDS).await;
        };
        let nod = async {
            tokio::select! {
                () = nod => {}
                () = last_words => {}
            }
        };
        let ((), answered) = tokio::join!(nod, async {
            if marks.answered.is_cancelled() {
                return true;
            }
            tokio::select! {
                answered = all_answered(awaited) => {
                    if answered {
                        self.answered(begins, marks, awaited);
                    }
                    answered
                }
                () = marks.withdrawn.cancelled() => true,
            }
        });
        if !answered {
            shown.0.end(self.broken());
            return Err(Problem::new(ENDED, self.broken()));
        }
        shown.0.end(End::Clean);
        Ok(())
    }

    /// Reads the nod to a message. There are servers that answer in it.
    async fn take_nod(&self, line: &Line, nod: Response, said: &Said, answer: &mut Answer) {
        if nod.kind() != BodyKind::Json {
            let mut nod = nod.unseen(answer);
            while let Some(Ok(_)) = nod.frame().await {}
        } else if let Ok((text, last)) = whole(nod, answer).await
            && line.hear_aside(text, &said.asked, &self.told).await
        {
            answer.data(&last);
        }
    }

    /// The server has refused a message. There are servers that so answer what is `left` of it.
    async fn turned_down(
        &self,
        line: &Line,
        refusal: &Refusal,
        left: &[Asked],
        answer: Answer,
    ) -> Result<(), Problem> {
        let Some(told) = words::answers(refusal, left) else {
            refusal.show(answer);
            return Err(words::refused(refusal, self.server.url()));
        };
        refusal.show_as(&words::together(&told), answer);
        for text in told {
            line.hear_aside(text, &[], &self.told).await;
        }
        Ok(())
    }

    /// All answers to a message have come, whatever is still said about it.
    fn answered(&self, begins: Option<&Said>, marks: &Marks, awaited: &[Awaited]) {
        // Before anybody is told: what begins the session is followed by `initialized`.
        if let Some(said) = begins
            && awaited.iter().all(Awaited::is_result)
        {
            self.session.begin(&said.text(), None, None);
        }
        marks.taken.cancel();
        marks.answered.cancel();
    }

    /// Who ended a stream.
    fn broken(&self) -> End {
        if self.over.is_cancelled() { End::ClientGone } else { End::ServerGone }
    }

    fn latest(&self) -> Option<Arc<Line>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The stream on which to say this: what answers the server belongs on the one that asked.
    async fn line_for(&self, said: &Said) -> Result<Arc<Line>, Problem> {
        let asked_on = self.questions.answer(&said.answers);
        let answers = !said.answers.is_empty() && said.asked.is_empty();
        if answers || asked_on.is_some() {
            // The server may wait for this while the session is begun on it.
            let latest = self.latest().filter(|line| line.is_open());
            let line = latest.filter(|line| asked_on.is_none_or(|number| line.number == number));
            if line.is_some() || asked_on.is_some() {
                return line.ok_or_else(|| Problem::new(ASKED_BEFORE, self.broken()));
            }
        }
        // With `initialize` the client begins by itself.
        self.open(!said.is(method::INITIALIZE)).await
    }

    /// The stream of the session, which is opened if there is none; `replay` says whether to
    /// begin the session on it as the client began it before.
    async fn open(&self, replay: bool) -> Result<Arc<Line>, Problem> {
        let mut state = self.line.lock().await;
        if let Some(line) = state.line.as_ref().filter(|line| line.is_open()) {
            return Ok(Arc::clone(line));
        }
        if let Some((at, why)) = &state.failed
            && at.elapsed() < PAUSE
        {
            return Err(why.clone());
        }
        let again = state.line.take().is_some();
        let opened = timeout(BEGUN_WITHIN, self.begin(replay)).await.unwrap_or_else(|_| {
            let seconds = BEGUN_WITHIN.as_secs();
            let message = format!("the server began no session within {seconds} s");
            Err(Problem::new(message, End::TimedOut))
        });
        match opened {
            Ok(line) => {
                if again {
                    tracing::info!("the stream had ended; a new one was opened");
                }
                *state = State { line: Some(Arc::clone(&line)), failed: None };
                Ok(line)
            }
            Err(why) => {
                state.failed = Some((Instant::now(), why.clone()));
                Err(why)
            }
        }
    }

    async fn begin(&self, replay: bool) -> Result<Arc<Line>, Problem> {
        let (posts, reading) = self.announced().await?;
        let number = self.latest().map_or(0, |line| line.number + 1);
        let line = Line::new(posts, number, Arc::clone(&self.questions), self.over.child_token());
        let line = Arc::new(line);
        tokio::spawn(Arc::clone(&line).read(reading, self.told.clone()));
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&line));
        // Ends it unless the session has begun.
        let unless_begun = line.guard();
        if replay {
            let state = self.session.current();
            for text in [state.initialize, state.initialized].into_iter().flatten() {
                self.replay(&line, text).await?;
            }
        }
        unless_begun.disarm();
        Ok(line)
    }

    /// Says again what the client said to begin the session; the answer is for nobody.
    async fn replay(&self, line: &Line, text: Bytes) -> Result<(), Problem> {
        let Ok(Some(said)) = Said::read(text) else { return Ok(()) };
        let mut awaited = line.expect(&said.asked, true);
        self.exchange(line, &said, &Marks::default(), &mut awaited, true).await?;
        if awaited.iter().all(Awaited::is_result) {
            return Ok(());
        }
        Err(Problem::strange("the server refused initialize"))
    }

    /// Opens a stream and waits for the server to say where it takes messages.
    async fn announced(&self) -> Result<(Server, Reading), Problem> {
        let headers = HeaderMap::new();
        let (to_server, mut answer) = self.server.observe(Method::GET, &headers);
        let (mut probe, sent) = (to_server, CancellationToken::new());
        let body = Bytes::new();
        let response = self.server.send(&Method::GET, &headers, &body, &mut probe, &sent).await;
        let response = response.inspect_err(|problem| answer.end(problem.end))?;
        if !response.status.is_success() {
            let refusal = response.refusal().await;
            refusal.show(answer);
            return Err(words::refused(&refusal, self.server.url()));
        }
        let (is_stream, path) = (response.kind() == BodyKind::EventStream, response.path.clone());
        let mut download = response.observed(answer);
        let mut events = Messages::default();
        while is_stream && let Some(Ok(frame)) = download.frame().await {
            let Ok(chunk) = frame.into_data() else { continue };
            let early = events.read(&chunk).map_err(|it| Problem::strange(it.to_string()))?;
            let Some(uri) = events.endpoint() else { continue };
            let Some(posts) = self.server.elsewhere(&path, &uri) else {
                return Err(Problem::strange(format!(
                    "the server takes messages at {}, which is not the origin of --remote-url; \
                     they are not sent there",
                    shown::url(&uri)
                )));
            };
            return Ok((posts, Reading { download, events, early }));
        }
        Err(Problem::strange(
            "the server has no stream of events that begins with an endpoint; is this a URL of \
             HTTP+SSE? With streamable HTTP the mode is http",
        ))
    }

    /// Shows the tap a message that the client withdrew before it was sent.
    pub(super) fn show_withdrawn(&self, said: &Said) {
        if !said.asked.is_empty() {
            self.nowhere().show_withdrawn(&HeaderMap::new(), &said.text());
        }
    }

    /// Where what belongs to no session is shown.
    fn nowhere(&self) -> Server {
        self.server.spoken_to_by(HttpTransport::Streamable)
    }

    /// Shows the tap what could not even be asked.
    fn show_unsent(&self, said: &Said, why: &Problem) {
        if said.asked.is_empty() {
            return;
        }
        let nowhere = self.nowhere();
        let (question, mut answer) = nowhere.observe(Method::POST, &HeaderMap::new());
        if let Some(mut question) = question {
            question.data(&said.text());
            question.end(End::Clean);
        }
        if let Some(Refused { status, .. }) = why.refused {
            answer.head(|| ResponseHead { status, body: BodyKind::Opaque, session: None });
        }
        answer.end(why.end);
    }
}
