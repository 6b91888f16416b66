//! A small OpenTelemetry collector: takes spans over OTLP/gRPC and keeps them for the test.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{ResourceSpans, Span},
};
use tonic::{
    Request, Response, Status,
    transport::{Identity, Server, ServerTlsConfig},
};

use crate::{Mood, eventually, mood::Moods, served::Served};

/// A running collector; dropping it closes its port and its connections.
#[derive(Debug)]
pub struct Collector {
    served: Served,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    moods: Moods,
    taken: Mutex<Vec<ResourceSpans>>,
}

struct Service(Arc<State>);

impl Collector {
    /// A collector on a port of its own.
    pub async fn start() -> Self {
        Self::serve(Server::builder()).await
    }

    /// A collector that speaks TLS, with this certificate and key in PEM.
    pub async fn start_tls(certificate: &str, key: &str) -> Self {
        let tls = ServerTlsConfig::new().identity(Identity::from_pem(certificate, key));
        Self::serve(Server::builder().tls_config(tls).expect("a certificate and its key")).await
    }

    async fn serve(mut server: Server) -> Self {
        let state = Arc::new(State::default());
        let service = TraceServiceServer::new(Service(Arc::clone(&state)));
        let router = server.add_service(service);
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        Self { served: Served::start(address, router).await, state }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.served.address()
    }

    /// Its URL, as `OTEL_EXPORTER_OTLP_ENDPOINT` takes it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Changes how exports are answered.
    pub fn set_mood(&self, mood: Mood) {
        self.state.moods.set(mood);
    }

    /// Everything that was exported, with its resources.
    pub fn exported(&self) -> Vec<ResourceSpans> {
        self.state.taken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Every span that was exported.
    pub fn spans(&self) -> Vec<Span> {
        let scopes = self.exported().into_iter().flat_map(|resource| resource.scope_spans);
        scopes.flat_map(|scope| scope.spans).collect()
    }

    /// The spans, once there are at least `count`.
    pub async fn wait_for(&self, count: usize, within: Duration) -> Vec<Span> {
        eventually(&format!("{count} spans at the collector"), within, async || {
            Some(self.spans()).filter(|spans| spans.len() >= count)
        })
        .await
    }
}

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.moods.admit().await?;
        let spans = request.into_inner().resource_spans;
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner).extend(spans);
        self.0.moods.answer().await;
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// The value of an attribute, numbers and flags in decimal.
pub fn attribute(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    Some(match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => text.clone(),
        Value::BoolValue(flag) => flag.to_string(),
        Value::IntValue(number) => number.to_string(),
        Value::DoubleValue(number) => number.to_string(),
        other => format!("{other:?}"),
    })
}
