//! The way to the OpenTelemetry collector, and what its answers mean
//! (opentelemetry.io/docs/specs/otlp, "OTLP/gRPC").

use std::{
    collections::BTreeMap, error::Error as _, fs, io, path::PathBuf, sync::Arc, time::Duration,
};

use http::Uri;
use opentelemetry_proto::{
    tonic::collector::trace::v1::{
        ExportTraceServiceRequest, trace_service_client::TraceServiceClient,
    },
    transform::trace::tonic::group_spans_by_resource_and_scope,
};
use opentelemetry_sdk::trace::SpanData;
use tonic::{
    Code, Request, Status,
    metadata::{Ascii, KeyAndValueRef, MetadataKey, MetadataMap, MetadataValue},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use super::resource;
use crate::{
    config::{self, Header, Secret},
    sink::foreign::{cause, printable, tls, unheard},
    tls::Trouble,
};

/// Where a collector listens unless told otherwise.
const DEFAULT_ENDPOINT: &str = "http://localhost:4317";
/// Longest wait for a connection, TLS included.
const CONNECT: Duration = Duration::from_secs(10);

/// Why exporting cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The endpoint is no URL that gRPC can dial.
    #[error("export spans to '{endpoint}': write a URL such as http://collector:4317")]
    Endpoint {
        /// What was given.
        endpoint: String,
    },
    /// The file of authorities cannot be read.
    #[error("read the certificate authorities for spans from {}: {source}", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The settings for TLS cannot be used.
    #[error("prepare TLS to '{endpoint}': {source}")]
    Tls {
        /// What was given.
        endpoint: String,
        /// What is wrong.
        source: tonic::transport::Error,
    },
    /// A header cannot be sent.
    #[error("send the header {0} with every export: {1}; check OTEL_EXPORTER_OTLP_HEADERS")]
    Header(String, String),
}

/// What the collector did with a batch that it took.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// Spans that it refused for good.
    pub(super) refused: u64,
    /// Why, in its words.
    pub(super) reason: String,
}

/// Why the collector did not take a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The same batch may be taken later.
    Passing(String),
    /// It never will be.
    Final(String),
}

/// The collector.
#[derive(Debug)]
pub(super) struct Collector {
    address: String,
    client: TraceServiceClient<Channel>,
    /// Of which the resources are made.
    config: config::Otel,
}

/// A span, and the server that it is about.
pub(super) type Owned = (Arc<str>, SpanData);

impl Collector {
    /// Reads everything that can be wrong; dials nothing.
    pub(super) fn new(config: &config::Otel) -> Result<Self, Error> {
        let given = config.endpoint.as_deref().unwrap_or(DEFAULT_ENDPOINT);
        let unusable = || Error::Endpoint { endpoint: given.to_owned() };
        let uri: Uri = given.parse().map_err(|_| unusable())?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(unusable());
        }
        let address = address(&uri);
        let tls = uri.scheme_str() == Some("https");
        let mut endpoint = Endpoint::from(uri)
            .connect_timeout(CONNECT.min(config.timeout))
            .tcp_keepalive(Some(Duration::from_mins(1)))
            .user_agent(concat!("mcpulse-proxy/", env!("CARGO_PKG_VERSION")))
            .map_err(|_| unusable())?;
        if tls {
            let mut settings = ClientTlsConfig::new().with_webpki_roots();
            if let Some(path) = &config.ca_file {
                let pem = fs::read(path)
                    .map_err(|source| Error::Authorities { path: path.clone(), source })?;
                settings = settings.ca_certificate(Certificate::from_pem(pem));
            }
            endpoint = endpoint
                .tls_config(settings)
                .map_err(|source| Error::Tls { endpoint: given.to_owned(), source })?;
        }
        let is_there = |header: &&Header| !matches!(header.value(), Secret::Awaited(_));
        let there: Vec<Header> = config.headers.iter().filter(is_there).cloned().collect();
        metadata(&there).map_err(|(name, problem)| Error::Header(name, problem))?;
        Ok(Self {
            address,
            client: TraceServiceClient::new(endpoint.connect_lazy()),
            config: config.clone(),
        })
    }

    /// Where it is, for people.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Sends these spans once, those of each server under a resource of its own.
    pub(super) async fn export(&self, spans: Vec<Owned>) -> Result<Answer, Failure> {
        let metadata = self.metadata().await?;
        let mut by_server = BTreeMap::<_, Vec<_>>::new();
        for (server_id, span) in spans {
            by_server.entry(server_id).or_default().push(span);
        }
        let resource_spans = by_server.into_iter().flat_map(|(server_id, spans)| {
            let resource = resource::of(&self.config, &server_id);
            group_spans_by_resource_and_scope(spans, &(&resource).into())
        });
        let resource_spans = resource_spans.collect();
        let mut request = Request::new(ExportTraceServiceRequest { resource_spans });
        *request.metadata_mut() = metadata.clone();
        request.set_timeout(self.config.timeout);
        let mut client = self.client.clone();
        match tokio::time::timeout(self.config.timeout, client.export(request)).await {
            Ok(Ok(response)) => {
                let partial = response.into_inner().partial_success.unwrap_or_default();
                Ok(Answer {
                    refused: u64::try_from(partial.rejected_spans).unwrap_or_default(),
                    reason: without(&metadata, printable(&partial.error_message)),
                })
            }
            Ok(Err(status)) => Err(failure(&status, without(&metadata, cause(&status)))),
            Err(_) => Err(Failure::Passing(format!("no answer within {:?}", self.config.timeout))),
        }
    }

    async fn metadata(&self) -> Result<MetadataMap, Failure> {
        let read = |headers: &[Header]| {
            metadata(headers).map_err(|(name, problem)| format!("header {name}: {problem}"))
        };
        if !self.config.headers.iter().any(|header| header.value().is_in_file()) {
            return read(&self.config.headers).map_err(Failure::Passing);
        }
        let headers = self.config.headers.clone();
        // A file may hang, as on a network: no worker waits for it.
        tokio::task::spawn_blocking(move || read(&headers))
            .await
            .unwrap_or_else(|error| Err(error.to_string()))
            .map_err(Failure::Passing)
    }
}

/// The text without the headers' values, should the collector have repeated one.
fn without(metadata: &MetadataMap, mut text: String) -> String {
    for header in metadata.iter() {
        if let KeyAndValueRef::Ascii(_, value) = header
            && let Ok(value) = value.to_str()
            && !value.is_empty()
        {
            text = text.replace(value, "***");
        }
    }
    text
}

/// The URL without what may be a secret in it.
fn address(uri: &Uri) -> String {
    let host = uri.host().unwrap_or_default();
    let port = uri.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{host}{port}", uri.scheme_str().unwrap_or_default())
}

/// The headers with their values as they are now, or the name of one and what is wrong.
fn metadata(headers: &[Header]) -> Result<MetadataMap, (String, String)> {
    let mut metadata = MetadataMap::new();
    for header in headers {
        let problem = |problem: String| (header.name().to_string(), problem);
        let name = MetadataKey::<Ascii>::from_bytes(header.name().as_str().as_bytes())
            .map_err(|_| problem("its name cannot be sent".to_owned()))?;
        let text = header.value().reveal().map_err(|error| problem(error.to_string()))?;
        let mut value = MetadataValue::try_from(text)
            .map_err(|_| problem("its value has control characters".to_owned()))?;
        value.set_sensitive(true);
        metadata.append(name, value);
    }
    Ok(metadata)
}

/// Which codes are worth another attempt is laid down in the specification; what never
/// reached the collector always is.
fn failure(status: &Status, mut text: String) -> Failure {
    let passing = match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => true,
        // With details it says when to come back; without, the batch itself is too much.
        Code::ResourceExhausted => !status.details().is_empty(),
        _ => status.source().is_some(),
    };
    let unreached = status.source().is_some();
    text.push_str(match tls(status) {
        Some(Trouble::Untrusted) => "; name the authority of its certificate: --otel-ca-file",
        Some(Trouble::Authority) => {
"; it shows an authority's certificate: make it one with CA:FALSE, and name that: --otel-ca-file"
}
Some(Trouble::Useless) => {
            "; it needs a server's certificate, for this name and not expired"
        }
        Some(Trouble::Unspoken) => "; does it speak TLS? if not: http:// in --otel-endpoint",
        Some(Trouble::Failed) => "; TLS failed: check --otel-endpoint and its certificate",
        None if unheard(status) => {
            "; does it speak OTLP/gRPC, and want TLS? then: https:// in --otel-endpoint"
        }
        None if unreached && status.code() == Code::Unavailable => {
            "; start it, or check --otel-endpoint"
        }
        None if passing => "; see its log",
        None => "",
    });
    match status.code() {
        _ if passing => Failure::Passing(text),
        Code::Unauthenticated | Code::PermissionDenied => {
            Failure::Final(format!("{text}; check OTEL_EXPORTER_OTLP_HEADERS"))
        }
        Code::Unimplemented => {
            Failure::Final(format!("{text}; it takes no spans over gRPC: is it the right port?"))
        }
        _ => Failure::Final(text),
    }
}

#[cfg(test)]
mod tests;
