//! Who hears what the program of a session says. Knows ids, and nothing of connections.
//!
//! An answer goes to the request that has its id, progress to the request that has its token.
//! What else a program says while it works on a request mostly belongs to that request (a
//! question to the user, a line of log), but nothing in it says so: where just one request can
//! take it, it goes there; where several could, to the client's own stream if there is one.

use std::collections::{BTreeMap, HashMap};

use super::splice::Gist;
use crate::{
    jsonrpc::{Id, Kind},
    mcp::method,
};

/// Where a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// To this request, as what it waits for.
    Answer(u64),
    /// To this request, which goes on waiting.
    Beside(u64),
    /// To the stream that belongs to no request.
    Own,
    /// Nobody asked for it.
    Nowhere,
}

/// When what belongs to a request reaches its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// At once: it has the stream.
    Now,
    /// When it goes on with the stream, which it has lost.
    Later,
}

/// The requests of a client that its program has not answered.
#[derive(Debug, Default)]
pub(super) struct Routing {
    /// In the order in which they came; numbers are not used again.
    asked: BTreeMap<u64, Asked>,
    /// Those that the client has cancelled: most are never answered.
    withdrawn: BTreeMap<u64, Asked>,
    ids: HashMap<Id, u64>,
    tokens: HashMap<Id, u64>,
    next: u64,
}

#[derive(Debug)]
struct Asked {
    id: Id,
    token: Option<Id>,
}

impl Routing {
    /// A request is about to go to the program. Returns its number; none while another request
    /// with its id waits, since answers could not be told apart.
    pub(super) fn ask(&mut self, id: Id, token: Option<Id>) -> Option<u64> {
        if self.ids.contains_key(&id) {
            return None;
        }
        let number = self.next;
        self.next += 1;
        self.ids.insert(id.clone(), number);
        if let Some(token) = &token {
            self.tokens.insert(token.clone(), number);
        }
        self.asked.insert(number, Asked { id, token });
        Some(number)
    }

    /// The client has cancelled a request. Returns its number; none where it does not wait.
    pub(super) fn withdraw(&mut self, id: &Id) -> Option<u64> {
        let number = *self.ids.get(id)?;
        self.withdrawn.insert(number, self.asked.remove(&number)?);
        Some(number)
    }

    /// Forgets one of those that were cancelled, the oldest of which `first` holds, else the
    /// oldest of all. Returns its number.
    pub(super) fn forget_withdrawn(&mut self, first: impl Fn(u64) -> bool) -> Option<u64> {
        let mut numbers = self.withdrawn.keys().copied();
        let number = numbers.find(|number| first(*number));
        let number = number.or_else(|| self.withdrawn.keys().copied().next())?;
        self.forget(number);
        Some(number)
    }

    /// Forgets this request, whose client has left it: what is answered late goes nowhere.
    pub(super) fn forget_left(&mut self, number: u64) {
        self.forget(number);
    }

    /// Where a message of the program goes. `reach` says whether a request can be sent more than
    /// its answer, `listens` whether the client has a stream of its own open.
    pub(super) fn route(
        &mut self,
        gist: &Gist,
        reach: impl Fn(u64) -> Option<Reach>,
        listens: bool,
    ) -> Place {
        match &gist.kind {
            Kind::Answer(id) => self.ids.get(id).copied().map_or(Place::Nowhere, |number| {
                self.forget(number);
                Place::Answer(number)
            }),
            // An error without an id: only where one waits it is clear for whom.
            Kind::Refusal => match self.sole(|_| true) {
                Some(number) => {
                    self.forget(number);
                    Place::Answer(number)
                }
                None => Place::Nowhere,
            },
            Kind::Unknown => Place::Nowhere,
            Kind::Request(_) | Kind::Notification => {
                let by_token = gist.is(method::PROGRESS).then(|| {
                    let number = self.tokens.get(gist.token.as_ref()?);
                    number.copied().filter(|number| reach(*number).is_some())
                });
                let number = match by_token {
                    Some(number) => number,
                    None if is_unrelated(gist) => None,
                    None => self.related(reach, listens),
                };
                number.map_or(Place::Own, Place::Beside)
            }
        }
    }

    /// How many requests wait, those included that were cancelled.
    pub(super) fn waiting(&self) -> usize {
        self.asked.len() + self.withdrawn.len()
    }

    /// The request that is taken to have brought about what does not say which. Nothing waits for
    /// a stream to be gone on with that could be heard now.
    fn related(&self, reach: impl Fn(u64) -> Option<Reach>, listens: bool) -> Option<u64> {
        let now = |number: &u64| reach(*number) == Some(Reach::Now);
        let sole = self.sole(|number| reach(number).is_some());
        if listens {
            return sole.filter(now);
        }
        let mut newest = self.asked.keys().rev().copied().filter(|it| reach(*it).is_some());
        sole.or_else(|| newest.clone().find(now)).or_else(|| newest.next())
    }

    /// The only request of this kind.
    fn sole(&self, is: impl Fn(u64) -> bool) -> Option<u64> {
        let mut numbers = self.asked.keys().copied().filter(|number| is(*number));
        let first = numbers.next()?;
        numbers.next().is_none().then_some(first)
    }

    fn forget(&mut self, number: u64) {
        let asked = self.asked.remove(&number).or_else(|| self.withdrawn.remove(&number));
        let Some(asked) = asked else { return };
        self.ids.remove(&asked.id);
        if let Some(token) = asked.token
            && self.tokens.get(&token) == Some(&number)
        {
            self.tokens.remove(&token);
        }
    }
}

/// Whether no request can have brought it about, by its method.
fn is_unrelated(gist: &Gist) -> bool {
    gist.method.as_deref().is_some_and(|name| {
        name.ends_with("/list_changed")
            || name == "notifications/resources/updated"
            || name == "notifications/elicitation/complete"
            || name.starts_with(method::TASK_NOTIFICATIONS)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{relay::bridge::splice::BOUNDS, scan::Scanner};

    fn gist(text: &str) -> Gist {
        let mut scanner = Scanner::new(BOUNDS);
        assert_eq!(scanner.feed(text.as_bytes()), Some(text.len()));
        Gist::of(scanner.message())
    }

    fn number(id: i64) -> Id {
        Id::Number(id)
    }

    /// Where it goes while every request takes messages and no stream is open.
    fn place(routing: &mut Routing, text: &str) -> Place {
        routing.route(&gist(text), |_| Some(Reach::Now), false)
    }

    const LOG: &str = r#"{"method":"notifications/message","params":{}}"#;
    const QUESTION: &str = r#"{"id":1,"method":"sampling/createMessage"}"#;
    const CHANGED: &str = r#"{"method":"notifications/tools/list_changed"}"#;

    #[test]
    fn an_answer_goes_to_its_request_and_to_no_other() {
        let mut routing = Routing::default();
        let one = routing.ask(number(1), None).unwrap();
        let text = routing.ask(Id::Json("\"1\"".into()), None).unwrap();
        assert_eq!(place(&mut routing, r#"{"id":"1","result":{}}"#), Place::Answer(text));
        assert_eq!(place(&mut routing, r#"{"id":"1","result":{}}"#), Place::Nowhere);
        assert_eq!(place(&mut routing, r#"{"id":1,"error":{"code":1}}"#), Place::Answer(one));
        assert_eq!(routing.waiting(), 0);
        assert!(routing.ids.is_empty() && routing.tokens.is_empty());
    }

    #[test]
    fn an_id_is_free_again_once_it_was_answered() {
        let mut routing = Routing::default();
        let first = routing.ask(number(1), Some(number(9))).unwrap();
        assert_eq!(routing.ask(number(1), None), None);
        place(&mut routing, r#"{"id":1,"result":{}}"#);
        let second = routing.ask(number(1), None).unwrap();
        assert_ne!(first, second);
    }

    #[test]
    fn what_was_cancelled_is_in_nobody_s_way() {
        let mut routing = Routing::default();
        let numbers: Vec<_> = (1..=3).map(|id| routing.ask(number(id), None).unwrap()).collect();
        assert_eq!(routing.withdraw(&number(4)), None);
        for (id, own) in (1..=2).zip(&numbers) {
            assert_eq!(routing.withdraw(&number(id)), Some(*own));
        }
        assert_eq!(routing.withdraw(&number(1)), None);
        // What says of nobody whom it concerns concerns the one who waits.
        assert_eq!(place(&mut routing, QUESTION), Place::Beside(numbers[2]));
        // It may be answered all the same, and until then its id tells nobody else's answer.
        assert_eq!(routing.ask(number(2), None), None);
        assert_eq!(place(&mut routing, r#"{"id":2,"result":{}}"#), Place::Answer(numbers[1]));
        assert_eq!(routing.waiting(), 2);
        assert_eq!(routing.forget_withdrawn(|_| false), Some(numbers[0]));
        assert_eq!(routing.forget_withdrawn(|_| true), None);
        assert_eq!(place(&mut routing, r#"{"id":1,"result":{}}"#), Place::Nowhere);
        assert_eq!((routing.waiting(), routing.ids.len()), (1, 1));
    }

    #[test]
    fn progress_goes_to_the_request_with_its_token() {
        let mut routing = Routing::default();
        let first = routing.ask(number(1), Some(number(7))).unwrap();
        let second = routing.ask(number(2), Some(Id::Json("\"7\"".into()))).unwrap();
        let told = |token| {
            format!(r#"{{"method":"notifications/progress","params":{{"progressToken":{token}}}}}"#)
        };
        assert_eq!(place(&mut routing, &told("7")), Place::Beside(first));
        assert_eq!(place(&mut routing, &told("\"7\"")), Place::Beside(second));
        assert_eq!(place(&mut routing, &told("8")), Place::Own);
        let reach = |number| (number != first).then_some(Reach::Now);
        assert_eq!(routing.route(&gist(&told("7")), reach, false), Place::Own);
        // Whoever may go on with the stream is told there, and nowhere else.
        let lost = routing.route(&gist(&told("7")), |_| Some(Reach::Later), true);
        assert_eq!(lost, Place::Beside(first));
    }

    #[test]
    fn what_comes_while_one_request_waits_belongs_to_it() {
        let mut routing = Routing::default();
        assert_eq!(place(&mut routing, LOG), Place::Own);
        let first = routing.ask(number(1), None).unwrap();
        assert_eq!(place(&mut routing, LOG), Place::Beside(first));
        assert_eq!(place(&mut routing, QUESTION), Place::Beside(first));
        assert_eq!(place(&mut routing, CHANGED), Place::Own);
        // The client of the one has left, or takes no events.
        assert_eq!(routing.route(&gist(LOG), |_| None, false), Place::Own);
        // It may go on with its stream, but hears of it at once on another.
        let later = |_| Some(Reach::Later);
        assert_eq!(routing.route(&gist(QUESTION), later, false), Place::Beside(first));
        assert_eq!(routing.route(&gist(QUESTION), later, true), Place::Own);
    }

    #[test]
    fn where_several_wait_the_stream_of_the_client_decides() {
        let mut routing = Routing::default();
        let first = routing.ask(number(1), None).unwrap();
        let second = routing.ask(number(2), None).unwrap();
        let now = Some(Reach::Now);
        assert_eq!(routing.route(&gist(QUESTION), |_| now, true), Place::Own);
        assert_eq!(routing.route(&gist(QUESTION), |_| now, false), Place::Beside(second));
        let reach = |it| now.filter(|_| it == first);
        assert_eq!(routing.route(&gist(QUESTION), reach, true), Place::Beside(first));
        let reach = |it| if it == first { now } else { Some(Reach::Later) };
        assert_eq!(routing.route(&gist(QUESTION), reach, true), Place::Own);
        assert_eq!(routing.route(&gist(QUESTION), reach, false), Place::Beside(first));
    }

    #[test]
    fn an_error_without_an_id_answers_the_only_request() {
        let error = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":""}}"#;
        let mut routing = Routing::default();
        assert_eq!(place(&mut routing, error), Place::Nowhere);
        let first = routing.ask(number(1), None).unwrap();
        assert_eq!(place(&mut routing, error), Place::Answer(first));
        routing.ask(number(1), None).unwrap();
        routing.ask(number(2), None).unwrap();
        assert_eq!(place(&mut routing, error), Place::Nowhere);
    }
}
