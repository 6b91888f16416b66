use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    trace::v1::{Span, span::SpanKind, status::StatusCode},
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use super::*;
use crate::{
    record::{Call, Outcome},
    sink::{Ledger, ledger::Line, lock, queue::Offer},
};

/// What the fake collector answers to each request; the last answer stays.
#[derive(Clone, Debug)]
pub(super) enum Answers {
    Take,
    Refuse(i64),
    Fail(Status),
    Hang,
}

#[derive(Clone, Default)]
pub(super) struct Fake {
    requests: Arc<Mutex<Vec<Request<ExportTraceServiceRequest>>>>,
    answers: Arc<Mutex<Vec<Answers>>>,
}

#[tonic::async_trait]
impl TraceService for Fake {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        lock(&self.requests).push(request);
        let answer = {
            let mut answers = lock(&self.answers);
            if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() }
        };
        let partial_success = match answer {
            Answers::Take => None,
            Answers::Refuse(rejected_spans) => {
                let error_message = "too old".to_owned();
                Some(ExportTracePartialSuccess { rejected_spans, error_message })
            }
            Answers::Fail(status) => return Err(status),
            Answers::Hang => std::future::pending().await,
        };
        Ok(Response::new(ExportTraceServiceResponse { partial_success }))
    }
}

impl Fake {
    pub(super) async fn listen(answers: &[Answers]) -> (Self, SocketAddr) {
        let fake = Self::default();
        lock(&fake.answers).extend_from_slice(answers);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(fake.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);
        (fake, address)
    }

    /// Completes once there was a request.
    async fn asked(&self) {
        let asked = async {
            while lock(&self.requests).is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), asked).await.unwrap();
    }

    pub(super) fn spans(&self) -> Vec<Span> {
        let requests = lock(&self.requests);
        let resources = requests.iter().flat_map(|request| &request.get_ref().resource_spans);
        let scopes = resources.flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }
}

/// The sink at work, and its books.
struct Running {
    ledger: Arc<Ledger>,
    offer: Option<Offer>,
    task: tokio::task::JoinHandle<()>,
    shutdown: Shutdown,
}

fn run(config: &config::Otel) -> Running {
    let ledger = Arc::new(Ledger::default());
    let shutdown = Shutdown::default();
    let Exporter { offer, task } = start(config, ledger.account("otel"), shutdown.clone()).unwrap();
    Running { ledger, offer: Some(offer), task, shutdown }
}

pub(super) fn config(address: SocketAddr) -> config::Otel {
    config::Otel { endpoint: Some(format!("http://{address}")), ..config::Otel::default() }
}

impl Running {
    fn call(&self, call: Call) {
        self.ledger.observed();
        self.offer.as_ref().unwrap().offer(&Arc::new(call));
    }

    /// Ends the observer's side and waits for the sink: its line in the books.
    async fn end(mut self) -> Line {
        self.offer = None;
        tokio::time::timeout(Duration::from_mins(2), self.task).await.unwrap().unwrap();
        let books = self.ledger.snapshot();
        assert!(books.sinks[0].balances(books.observed), "{books:?}");
        assert_eq!(books.sinks[0].queued, 0, "{books:?}");
        books.sinks[0].clone()
    }
}

#[tokio::test]
async fn calls_arrive_as_spans_with_resource_and_headers() {
    let (fake, address) = Fake::listen(&[Answers::Take]).await;
    let headers = vec![config::Header::new("X-Key", "k").unwrap()];
    let sink = run(&config::Otel { headers, ..config(address) });
    sink.call(Call::of_tool("read", Outcome::Ok));
    sink.call(Call::of_tool("write", Outcome::ToolError));
    let line = sink.end().await;
    assert_eq!(line.delivered, 2);
    let spans = fake.spans();
    assert_eq!(spans.len(), 2);
    assert_eq!(spans[0].name, "tools/call read");
    assert_eq!(spans[0].kind, SpanKind::Server as i32);
    assert_eq!(spans[0].end_time_unix_nano - spans[0].start_time_unix_nano, 3_000_000);
    assert_eq!(spans[1].status.as_ref().unwrap().code, StatusCode::Error as i32);
    let requests = lock(&fake.requests);
    assert_eq!(requests[0].metadata().get("x-key").unwrap(), "k");
    let resource = requests[0].get_ref().resource_spans[0].resource.clone().unwrap();
    let name = resource.attributes.iter().find(|attribute| attribute.key == "service.name");
    assert!(format!("{name:?}").contains("files"), "{name:?}");
}

#[tokio::test]
async fn refused_spans_are_rejected_not_delivered() {
    let (_, address) = Fake::listen(&[Answers::Refuse(2)]).await;
    let sink = run(&config(address));
    for _ in 0..5 {
        sink.call(Call::of_tool("read", Outcome::Ok));
    }
    let line = sink.end().await;
    assert_eq!((line.delivered, line.rejected), (3, 2));
}

#[tokio::test]
async fn a_final_failure_is_not_tried_again() {
    let refusal = Answers::Fail(Status::unauthenticated("who are you?"));
    let (fake, address) = Fake::listen(&[refusal]).await;
    let sink = run(&config(address));
    sink.call(Call::of_tool("read", Outcome::Ok));
    assert_eq!(sink.end().await.rejected, 1);
    assert_eq!(lock(&fake.requests).len(), 1);
}

#[tokio::test]
async fn a_passing_failure_is_tried_again_until_it_has_passed() {
    let busy = Answers::Fail(Status::unavailable("busy"));
    let (fake, address) = Fake::listen(&[busy.clone(), busy, Answers::Take]).await;
    let sink = run(&config(address));
    sink.call(Call::of_tool("read", Outcome::Ok));
    assert_eq!(sink.end().await.delivered, 1);
    assert_eq!(lock(&fake.requests).len(), 3);
}

#[tokio::test]
async fn calls_outside_the_sample_are_dropped_by_name() {
    let (fake, address) = Fake::listen(&[Answers::Take]).await;
    let sink = run(&config::Otel { sample: 0.0, ..config(address) });
    sink.call(Call::of_tool("read", Outcome::Ok));
    sink.call(Call::of_tool("read", Outcome::Timeout));
    let line = sink.end().await;
    assert_eq!((line.delivered, line.dropped["sampled"]), (1, 1));
    assert_eq!(fake.spans().len(), 1);
}

#[tokio::test]
async fn a_backlog_arrives_in_batches() {
    let (fake, address) = Fake::listen(&[Answers::Take]).await;
    let sink = run(&config(address));
    for _ in 0..1200 {
        sink.call(Call::of_tool("read", Outcome::Ok));
    }
    assert_eq!(sink.end().await.delivered, 1200);
    assert_eq!(lock(&fake.requests).len(), 3);
}

#[tokio::test]
async fn a_collector_that_is_away_costs_the_queue_and_never_more() {
    // A port that nobody listens on.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let sink = run(&config::Otel { queue_calls: 10, ..config(address) });
    for _ in 0..50 {
        sink.call(Call::of_tool("read", Outcome::Ok));
    }
    sink.shutdown.begin(Duration::from_millis(300));
    let line = sink.end().await;
    assert_eq!(line.dropped["queue_full"], 40);
    assert_eq!(line.dropped["shutdown"], 10);
}

#[tokio::test]
async fn a_collector_that_hangs_cannot_hold_up_the_end() {
    let (fake, address) = Fake::listen(&[Answers::Hang]).await;
    let sink = run(&config(address));
    sink.call(Call::of_tool("read", Outcome::Ok));
    fake.asked().await;
    sink.call(Call::of_tool("read", Outcome::Ok));
    sink.shutdown.begin(Duration::from_millis(200));
    let began = std::time::Instant::now();
    assert_eq!(sink.end().await.dropped["shutdown"], 2);
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn an_end_that_comes_closer_is_kept() {
    let (fake, address) = Fake::listen(&[Answers::Hang]).await;
    let sink = run(&config(address));
    // As when a client leaves and the server then ends before its grace is over.
    sink.shutdown.begin(Duration::from_mins(1));
    sink.call(Call::of_tool("read", Outcome::Ok));
    fake.asked().await;
    sink.shutdown.begin(Duration::from_millis(200));
    let began = std::time::Instant::now();
    assert_eq!(sink.end().await.dropped["shutdown"], 1);
    assert!(began.elapsed() < Duration::from_secs(10));
}
