//! A small MCPulse: takes what proxies report and keeps it for the test.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use mcpulse_proto::{
    FILE_DESCRIPTOR_SET,
    v1::{
        IngestError, IngestRequest, IngestResponse, ToolCallMetric,
        analytics_service_server::AnalyticsServiceServer,
    },
};
use tonic::{
    Code, Request, Response, Status,
    transport::{Identity, Server, ServerTlsConfig},
};

use crate::{Mood, eventually, mood::Moods, served::Served};

mod service;

/// A running receiver; dropping it closes its port and its connections.
#[derive(Debug)]
pub struct Receiver {
    served: Served,
    state: Arc<State>,
}

/// What one request brought.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The `x-api-key` that came with it.
    pub api_key: Option<String>,
    /// The `x-resource-attributes` that came with it.
    pub resource: Option<String>,
    /// Its items, refused ones included.
    pub metrics: Vec<ToolCallMetric>,
}

/// Refuses single items: gives the reason.
pub type Judge = fn(&ToolCallMetric) -> Option<&'static str>;

#[derive(Debug, Default)]
struct State {
    moods: Moods,
    judge: Mutex<Option<Judge>>,
    /// Fails whole requests, with this code, for one of their items.
    poison: Mutex<Option<(Code, Judge)>>,
    batches: Mutex<Vec<Batch>>,
    attempts: AtomicUsize,
}

impl Receiver {
    /// A receiver on a port of its own.
    pub async fn start() -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into()).await
    }

    /// A receiver at an address that an earlier one had.
    pub async fn start_at(address: SocketAddr) -> Self {
        Self::serve(address, Server::builder()).await
    }

    /// A receiver on a port of its own that speaks TLS, with this certificate and key in PEM.
    pub async fn start_tls(certificate: &str, key: &str) -> Self {
        let identity = Identity::from_pem(certificate, key);
        let tls = ServerTlsConfig::new().identity(identity);
        let server = Server::builder().tls_config(tls).expect("a certificate and its key");
        Self::serve(([127, 0, 0, 1], 0).into(), server).await
    }

    async fn serve(address: SocketAddr, mut server: Server) -> Self {
        let state = Arc::new(State::default());
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .build_v1()
            .expect("the descriptors are complete");
        let router = server
            .add_service(AnalyticsServiceServer::new(service::Service(Arc::clone(&state))))
            .add_service(reflection);
        Self { served: Served::start(address, router).await, state }
    }

    /// Where it listens, as `--mcpulse-url` takes it.
    pub fn url(&self) -> String {
        self.address().to_string()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.served.address()
    }

    /// Changes how whole requests are answered.
    pub fn set_mood(&self, mood: Mood) {
        self.state.moods.set(mood);
    }

    /// Lets `judge` refuse single items.
    pub fn set_judge(&self, judge: Judge) {
        *lock(&self.state.judge) = Some(judge);
    }

    /// Lets `judge` fail whole requests, with this code, for one of their items.
    pub fn set_poison(&self, code: Code, judge: Judge) {
        *lock(&self.state.poison) = Some((code, judge));
    }

    /// Every request that was taken, in order.
    pub fn batches(&self) -> Vec<Batch> {
        lock(&self.state.batches).clone()
    }

    /// Requests so far, also those that were refused or wait for an answer.
    pub fn attempts(&self) -> usize {
        self.state.attempts.load(Ordering::Relaxed)
    }

    /// Every item of those requests.
    pub fn metrics(&self) -> Vec<ToolCallMetric> {
        self.batches().into_iter().flat_map(|batch| batch.metrics).collect()
    }

    /// The items, once there are at least `count`.
    pub async fn wait_for(&self, count: usize, within: Duration) -> Vec<ToolCallMetric> {
        eventually(&format!("{count} calls at the receiver"), within, async || {
            Some(self.metrics()).filter(|metrics| metrics.len() >= count)
        })
        .await
    }
}

impl State {
    async fn ingest(
        &self,
        request: Request<IngestRequest>,
    ) -> Result<Response<IngestResponse>, Status> {
        self.attempts.fetch_add(1, Ordering::Relaxed);
        self.moods.admit().await?;
        let said = |key| Some(request.metadata().get(key)?.to_str().ok()?.to_owned());
        let (api_key, resource) = (said("x-api-key"), said("x-resource-attributes"));
        let metrics = request.into_inner().metrics;
        let poison = *lock(&self.poison);
        if let Some((code, judge)) = poison
            && let Some(reason) = metrics.iter().find_map(judge)
        {
            return Err(Status::new(code, reason));
        }
        let judge = *lock(&self.judge);
        let errors: Vec<_> = (0i32..)
            .zip(&metrics)
            .filter_map(|(index, metric)| {
                let reason = judge?(metric)?.to_owned();
                Some(IngestError { index, reason })
            })
            .collect();
        let count = |items: usize| i32::try_from(items).unwrap_or(i32::MAX);
        let response = IngestResponse {
            accepted: count(metrics.len() - errors.len()),
            rejected: count(errors.len()),
            errors,
        };
        lock(&self.batches).push(Batch { api_key, resource, metrics });
        self.moods.answer().await;
        Ok(Response::new(response))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
