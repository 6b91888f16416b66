//! What a client says to a server, in order: which message may leave when, and which have not been
//! answered.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::mpsc,
    task::{self, AbortHandle, JoinError, JoinSet},
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{
    carrier::Carrier,
    conversation::LAST_WORDS,
    marks::{Marks, Step},
    places::{Crowd, remove},
    problem::Told,
    rights::Rights,
    said::{Said, What},
    server::{Reach, Server},
};
use crate::{
    jsonrpc::{self, Id},
    mcp::method,
};

/// Bytes of requests that the server has not taken, beyond which further ones wait; and bytes of
/// everything that waits, beyond which the client is not read.
const MOST_BYTES: usize = 64 << 20;
/// What a message takes beside its text.
const ENTRY: usize = 1 << 10;
/// Errors for lines that are no messages which wait for the client to take them, beyond which it
/// is not read.
const MOST_COMPLAINTS: usize = 64;
/// Steps of errands that wait to be looked at.
const STEPS: usize = 64;
/// How long a server may take to read what is cancelled, and to say that it heard of that.
const HEARD_WITHIN: Duration = Duration::from_secs(5);

/// What is under way between the client and the server.
#[derive(Debug)]
pub(in crate::relay) struct Talk {
    carrier: Arc<Carrier>,
    /// Each a message on its way; says whether the server took it.
    errands: JoinSet<bool>,
    /// What an errand has come to before its end.
    steps: mpsc::Sender<(task::Id, Step)>,
    reached: mpsc::Receiver<(task::Id, Step)>,
    under_way: HashMap<task::Id, UnderWay>,
    /// Requests on their way by their ids, the latest of those that share one.
    known: HashMap<Id, Known>,
    /// What was said behind a barrier, in order.
    held: VecDeque<Said>,
    /// Requests that wait for room, or for others.
    crowd: Crowd,
    /// Notifications that wait for the one before them to be taken: they mean something in order.
    lane: VecDeque<Said>,
    /// Bytes of requests on their way.
    asked: usize,
    /// Bytes of all else that waits or is on its way.
    waiting: usize,
    /// The errand that must be done before anything else is sent.
    barrier: Option<task::Id>,
    /// The notification that is on its way.
    notifying: Option<task::Id>,
    /// Errors for lines that are no messages, which the client has not taken yet.
    complaints: VecDeque<Bytes>,
    listening: Option<AbortHandle>,
}

/// A message on its way.
#[derive(Debug)]
struct UnderWay {
    said: Arc<Said>,
    bytes: usize,
    /// It comes from the crowd, and others wait there for what becomes of it.
    precedes: bool,
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
    /// One with the server to which `reach` leads, of which the tap hears nothing, and which
    /// keeps to the configured transport. See [`Self::new`].
    pub(in crate::relay) fn unobserved(
        reach: Arc<Reach>,
        rights: Rights,
        told: mpsc::Sender<Told>,
        in_flight: usize,
    ) -> Self {
        let server = Server::new(reach, None, rights);
        Self::with(Carrier::to(server, told, in_flight, false), in_flight)
    }

    /// One with `server`, that puts what it says to the client into `told`. So many requests
    /// are in flight at most, the rest wait.
    pub(super) fn new(server: Server, told: mpsc::Sender<Told>, in_flight: usize) -> Self {
        Self::with(Carrier::to(server, told, in_flight, true), in_flight)
    }

    fn with(carrier: Carrier, in_flight: usize) -> Self {
        let (steps, reached) = mpsc::channel(STEPS);
        Self {
            carrier: Arc::new(carrier),
            errands: JoinSet::new(),
            steps,
            reached,
            under_way: HashMap::new(),
            known: HashMap::new(),
            held: VecDeque::new(),
            crowd: Crowd::new(in_flight),
            lane: VecDeque::new(),
            asked: 0,
            waiting: 0,
            barrier: None,
            notifying: None,
            complaints: VecDeque::new(),
            listening: None,
        }
    }

    /// Carries messages, with or without the ends of their lines, until the client has said its
    /// last word.
    pub(in crate::relay) async fn run(&mut self, mut lines: mpsc::Receiver<Bytes>) {
        loop {
            tokio::select! {
                line = lines.recv(), if self.has_room() => match line {
                    Some(line) => self.hear(line),
                    None => return,
                },
                () = self.go_on() => {}
            }
        }
    }

    /// Gives up what has no answer at the first of these times, and to end the session in order
    /// at the second. The client is told nothing more then. What is to end is known only once a
    /// session that is being begun has been, so that is waited for as well.
    pub(in crate::relay) async fn end(mut self, answers: Instant, leave: Instant) {
        let answered = async {
            while !(self.errands.is_empty() && self.complaints.is_empty()) {
                self.go_on().await;
            }
        };
        let _ = timeout_at(answers, answered).await;
        // The client has left: so it withdraws what was not even sent.
        for said in self.held.drain(..).chain(self.crowd.drain()) {
            self.carrier.show_withdrawn(&said);
        }
        let left = async {
            while self.begins() {
                self.go_on().await;
            }
            self.carrier.leave().await;
        };
        let _ = timeout_at(leave, left).await;
        self.errands.abort_all();
        if let Some(listening) = &self.listening {
            listening.abort();
        }
    }

    /// Whether the server has been asked for a session and has not answered.
    fn begins(&self) -> bool {
        let barrier = self.barrier.and_then(|number| self.under_way.get(&number));
        barrier.is_some_and(|it| it.said.is(method::INITIALIZE))
    }

    /// Whether the client is to be read. Answers and cancellations stand behind no request that
    /// has room: only what waits counts, not what the server is working on.
    fn has_room(&self) -> bool {
        self.waiting <= MOST_BYTES && self.complaints.len() < MOST_COMPLAINTS
    }

    /// Waits for something to come of what is under way. Can be left at any time.
    async fn go_on(&mut self) {
        tokio::select! {
            // Never closed: one of its senders is ours.
            Some((number, step)) = self.reached.recv() => self.reach(number, step),
            Some(done) = self.errands.join_next_with_id() => self.settle(done),
            () = complain(&self.carrier, &mut self.complaints) => {}
        }
    }

    /// The client has said something.
    fn hear(&mut self, mut line: Bytes) {
        if line.ends_with(b"\n") {
            line.truncate(line.len() - 1);
        }
        match Said::read(line) {
            Ok(Some(said)) => {
                self.waiting += cost(&said);
                // Answers and cancellations pass what waits: somebody waits for them.
                if self.barrier.is_some() && self.waits(&said) {
                    self.held.push_back(said);
                } else {
                    self.take(said);
                }
            }
            Ok(None) => {}
            Err(fault) => {
                let error = jsonrpc::error(fault.id(), fault.code(), &fault.to_string());
                // Not awaited: a client that takes nothing holds up nothing else.
                self.complaints.push_back(error);
            }
        }
    }

    /// Whether a message has to wait until the session is ready.
    fn waits(&self, said: &Said) -> bool {
        match &said.what {
            What::Request => true,
            What::Aside => said.tells,
            // Not before the request itself.
            What::Cancellation(id) => !self.known.contains_key(id) && !self.has_unsent(id),
        }
    }

    fn has_unsent(&self, id: &Id) -> bool {
        self.held.iter().any(|said| said.asks_only(id)) || self.crowd.has(id)
    }

    /// Sends a message as soon as its turn has come, if that is to be.
    fn take(&mut self, said: Said) {
        for id in &said.withdraws {
            self.withdraw(id);
        }
        // Nothing else is under way that matters before these.
        if said.is(method::INITIALIZE) || said.is(method::INITIALIZED) {
            self.barrier = Some(self.send(said));
            return;
        }
        match &said.what {
            What::Cancellation(id) => {
                let id = id.clone();
                self.cancel(said, &id);
            }
            What::Request => self.crowd.join(said),
            What::Aside if said.tells => self.lane.push_back(said),
            What::Aside => {
                self.send(said);
            }
        }
        self.fill();
    }

    /// Sends what there is room for.
    fn fill(&mut self) {
        while self.asked <= MOST_BYTES
            && let Some(said) = self.crowd.next()
        {
            let number = self.send(said);
            if let Some(sent) = self.under_way.get_mut(&number) {
                sent.precedes = true;
            }
        }
        if self.notifying.is_none()
            && let Some(said) = self.lane.pop_front()
        {
            self.notifying = Some(self.send(said));
        }
    }

    /// Cancels a request, wherever it is.
    fn cancel(&mut self, said: Said, id: &Id) {
        if let Some(request) = remove(&mut self.held, id).or_else(|| self.crowd.remove(id)) {
            // Not even on its way: the server hears of neither.
            self.waiting -= cost(&said) + cost(&request);
            self.carrier.show_withdrawn(&request);
            return;
        }
        let Some(Known { marks, errand, .. }) = self.known.get(id) else {
            // Nobody waits for it.
            self.lane.push_back(said);
            return;
        };
        let (marks, errand) = (marks.clone(), errand.clone());
        if self.withdraw(id) {
            self.waiting -= cost(&said);
            return;
        }
        // Of a batch others may be wanted.
        let errand = marks.withdrawn.is_cancelled().then_some(errand);
        self.spawn(said, Marks::default(), move |carrier, said, own| async move {
            let leave = || {
                if let Some(errand) = &errand {
                    errand.abort();
                }
            };
            tokio::select! {
                biased;
                () = marks.sent.cancelled() => {}
                // A cancellation of what never left is about nothing.
                () = marks.over.cancelled() => return false,
                // What the server does not take whole it will not work on.
                () = sleep(HEARD_WITHIN) => {
                    leave();
                    return false;
                }
            }
            let ignored = async {
                own.sent.cancelled().await;
                sleep(HEARD_WITHIN).await;
            };
            let taken = tokio::select! {
                taken = carrier.carry(&said, &own) => taken,
                () = ignored => false,
            };
            let _ = timeout(LAST_WORDS, marks.over.cancelled()).await;
            leave();
            taken
        });
    }

    /// Nobody waits for this answer any more. Returns whether that is all there is to it: the
    /// exchange has been left.
    fn withdraw(&mut self, id: &Id) -> bool {
        let Some(Known { leaves, marks, errand }) = self.known.get(id) else { return false };
        let (all, number) = (marks.withdraw(id), errand.id());
        let left = all && *leaves;
        if left {
            errand.abort();
        }
        if all {
            self.make_way(number);
        }
        left
    }

    /// Nobody waits for this any more, so others may leave.
    fn make_way(&mut self, number: task::Id) {
        if let Some(sent) = self.under_way.get_mut(&number)
            && std::mem::take(&mut sent.precedes)
        {
            self.crowd.done(&sent.said);
        }
    }

    /// Sends a message, and sees to it that it can be cancelled.
    fn send(&mut self, said: Said) -> task::Id {
        let leaves = self.carrier.is_left_by_leaving(&said);
        let asked = said.asked.clone();
        let marks = Marks::of(&asked);
        let errand = self.spawn(said, marks.clone(), async |carrier, said, marks| {
            carrier.carry(&said, &marks).await
        });
        for asked in asked {
            let (marks, errand) = (marks.clone(), errand.clone());
            self.known.insert(asked.id, Known { leaves, marks, errand });
        }
        errand.id()
    }

    fn spawn<F>(
        &mut self,
        said: Said,
        marks: Marks,
        errand: impl FnOnce(Arc<Carrier>, Arc<Said>, Marks) -> F,
    ) -> AbortHandle
    where
        F: Future<Output = bool> + Send + 'static,
    {
        let (bytes, asks) = (cost(&said), !said.asked.is_empty());
        if asks {
            self.waiting -= bytes;
            self.asked += bytes;
        }
        let said = Arc::new(said);
        let errand = errand(Arc::clone(&self.carrier), Arc::clone(&said), marks.clone());
        let steps = self.steps.clone();
        let handle = self.errands.spawn(async move {
            let _over = marks.over.clone().drop_guard();
            tokio::select! {
                taken = errand => taken,
                never = marks.report(asks, &steps) => match never {},
            }
        });
        self.under_way.insert(handle.id(), UnderWay { said, bytes, precedes: false });
        handle
    }

    /// An errand that is not over has come so far.
    fn reach(&mut self, number: task::Id, step: Step) {
        let Some(UnderWay { said, bytes, .. }) = self.under_way.get_mut(&number) else { return };
        match step {
            // What begins the session is kept by it.
            Step::Taken if said.asked.is_empty() || said.is(method::INITIALIZE) => {}
            Step::Taken => {
                said.forget();
                self.asked -= *bytes - ENTRY;
                *bytes = ENTRY;
            }
            Step::Answered => {
                let said = Arc::clone(said);
                self.make_way(number);
                self.lift(number, &said, true);
            }
        }
        self.fill();
    }

    /// An errand is over, or was given up.
    fn settle(&mut self, done: Result<(task::Id, bool), JoinError>) {
        let (number, taken) = done.unwrap_or_else(|error| (error.id(), false));
        self.make_way(number);
        let Some(UnderWay { said, bytes, .. }) = self.under_way.remove(&number) else {
            // The barrier behind `initialized` carries nothing.
            if self.barrier == Some(number) {
                self.release();
            }
            return;
        };
        if said.asked.is_empty() {
            self.waiting -= bytes;
        } else {
            self.asked -= bytes;
        }
        for asked in &said.asked {
            if self.known.get(&asked.id).is_some_and(|known| known.errand.id() == number) {
                self.known.remove(&asked.id);
            }
        }
        self.lift(number, &said, taken);
        self.fill();
    }

    /// Nothing waits for this errand any longer.
    fn lift(&mut self, number: task::Id, said: &Said, taken: bool) {
        if self.notifying == Some(number) {
            self.notifying = None;
        }
        if self.barrier != Some(number) {
            return;
        }
        if !taken || !said.is(method::INITIALIZED) {
            self.release();
            return;
        }
        // Of the session that is left nothing is heard any more.
        if let Some(before) = self.listening.take() {
            before.abort();
        }
        self.carrier.ready(&said.text());
        let carrier = Arc::clone(&self.carrier);
        let listening = tokio::spawn(async move { carrier.listen().await });
        self.listening = Some(listening.abort_handle());
        let carrier = Arc::clone(&self.carrier);
        let settled = async move {
            carrier.settled().await;
            true
        };
        self.barrier = Some(self.errands.spawn(settled).id());
    }

    /// Lets go on what was held, as far as the next barrier.
    fn release(&mut self) {
        self.barrier = None;
        while self.barrier.is_none()
            && let Some(said) = self.held.pop_front()
        {
            self.take(said);
        }
    }
}

/// Tells the client the first of these, and never ends without one. Can be left at any time.
async fn complain(carrier: &Carrier, complaints: &mut VecDeque<Bytes>) {
    let Some(first) = complaints.front() else { return std::future::pending().await };
    carrier.tell(first.clone().into()).await;
    complaints.pop_front();
}

/// What a message takes while it waits or is on its way.
fn cost(said: &Said) -> usize {
    said.text().len() + ENTRY
}
