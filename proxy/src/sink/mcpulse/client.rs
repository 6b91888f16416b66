//! Sends encoded metrics to MCPulse and says what became of them.
//!
//! After a failure of the connection the next attempt begins with a new one.

use std::{
    collections::BTreeMap, error::Error as _, fs, future::Future, path::PathBuf, time::Duration,
};

use bytes::Bytes;
use mcpulse_proto::v1::IngestResponse;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use thiserror::Error;
use tonic::{
    Code, Request, Status,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    metadata::{Ascii, MetadataValue},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};
use tonic_prost::ProstCodec;

use super::address::{self, AddressError};
use crate::{
    config::{self, Secret},
    sink::foreign::{cause, tls, unheard},
    tls::Trouble,
};

const INGEST: PathAndQuery =
    PathAndQuery::from_static("/mcpulse.v1.AnalyticsService/IngestMetrics");
/// The metadata that says where the sender runs, as `OTEL_RESOURCE_ATTRIBUTES` spells it.
const RESOURCE: &str = "x-resource-attributes";
/// What the attributes of a resource begin with that tell where in a cluster it is.
const KUBERNETES: &str = "k8s.";
/// Longest wait for a connection, TLS included.
const CONNECT: Duration = Duration::from_secs(10);
/// Silence after which the system asks whether the far end still exists.
const KEEPALIVE: Duration = Duration::from_mins(1);

/// Why reporting to MCPulse cannot begin.
#[derive(Debug, Error)]
pub enum Error {
    /// The address cannot be read.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The file of certificate authorities cannot be used.
    #[error("read the certificate authorities for MCPulse from {}: {problem}", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The API key cannot be used.
    #[error("use the MCPulse API key: {0}")]
    Key(String),
    /// TLS cannot be set up.
    #[error("prepare TLS to MCPulse: {0}")]
    Tls(#[source] tonic::transport::Error),
}

/// `IngestRequest`, whose metrics are encoded already: on the wire, a message within a message
/// and bytes are the same.
#[derive(Clone, PartialEq, prost::Message)]
struct EncodedRequest {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    metrics: Vec<Bytes>,
}

/// Why MCPulse did not take a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) kind: Kind,
    /// For people, with the remedy where there is one.
    pub(super) text: String,
}

impl Failure {
    /// The same, should the answer have named the key.
    fn without(mut self, key: Option<&MetadataValue<Ascii>>) -> Self {
        if let Some(key) = key.and_then(|key| key.to_str().ok()) {
            self.text = self.text.replace(key, "***");
        }
        self
    }
}

/// What a failure calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The same request again, later.
    Retry,
    /// Somebody has to act first: the same request again, much later.
    Misconfigured,
    /// A smaller request, later.
    TooMuch,
    /// The server failed: its trouble, or that of one metric.
    Broken,
    /// One of the metrics is refused, and with it the request.
    Refused,
    /// MCPulse has it already.
    Duplicate,
}

/// The way to MCPulse.
#[derive(Debug)]
pub(super) struct Client {
    endpoint: Endpoint,
    channel: Option<Channel>,
    key: Option<Secret>,
    /// What is known of the pod.
    pod: Option<MetadataValue<Ascii>>,
    timeout: Duration,
}

impl Client {
    /// Reads everything that can be wrong; dials nothing.
    pub(super) fn new(config: &config::Mcpulse) -> Result<Self, Error> {
        let uri = address::parse(&config.url, config.tls)?;
        let tls = uri.scheme_str() == Some("https");
        let mut endpoint = Channel::builder(uri)
            .connect_timeout(CONNECT.min(config.timeout))
            .tcp_keepalive(Some(KEEPALIVE))
            .tcp_nodelay(true)
            .user_agent(concat!("mcpulse-proxy/", env!("CARGO_PKG_VERSION")))
            .map_err(Error::Tls)?;
        if tls {
            let mut settings = ClientTlsConfig::new().with_webpki_roots();
            if let Some(path) = &config.ca_file {
                settings = settings.ca_certificate(authorities(path)?);
            }
            endpoint = endpoint.tls_config(settings).map_err(Error::Tls)?;
        }
        let is_there = |key: &&Secret| !matches!(key, Secret::Awaited(_));
        if let Some(key) = config.api_key.as_ref().filter(is_there) {
            metadata(key).map_err(Error::Key)?;
        }
        let key = config.api_key.clone();
        Ok(Self { endpoint, channel: None, key, pod: None, timeout: config.timeout })
    }

    /// The same client, which says with each request where in a cluster it runs, as far as these
    /// attributes of the process tell.
    pub(super) fn within(self, attributes: &BTreeMap<String, String>) -> Self {
        let of_pod = attributes.iter().filter(|(name, _)| name.starts_with(KUBERNETES));
        let encoded = |value| utf8_percent_encode(value, NON_ALPHANUMERIC);
        let pairs = of_pod.map(|(name, value)| format!("{name}={}", encoded(value)));
        let text = pairs.collect::<Vec<_>>().join(",");
        let pod = Some(text).filter(|text| !text.is_empty()).and_then(|text| text.parse().ok());
        Self { pod, ..self }
    }

    /// Where MCPulse is, for people.
    pub(super) fn address(&self) -> String {
        self.endpoint.uri().to_string().trim_end_matches('/').to_owned()
    }

    /// Sends one request. The future is independent of the client.
    pub(super) fn send(
        &mut self,
        metrics: Vec<Bytes>,
    ) -> impl Future<Output = Result<IngestResponse, Failure>> + Send + use<> {
        let channel = self.channel.get_or_insert_with(|| self.endpoint.connect_lazy()).clone();
        let (key, pod, timeout) = (self.key.clone(), self.pod.clone(), self.timeout);
        async move {
            let key = match key {
                Some(key) => current(key).await?,
                None => None,
            };
            let mut request = Request::new(EncodedRequest { metrics });
            request.set_timeout(timeout);
            if let Some(key) = key.clone() {
                request.metadata_mut().insert("x-api-key", key);
            }
            if let Some(pod) = pod {
                request.metadata_mut().insert(RESOURCE, pod);
            }
            match tokio::time::timeout(timeout, ingest(channel, request)).await {
                Ok(Ok(response)) => Ok(response),
                Ok(Err(status)) => Err(failure(&status).without(key.as_ref())),
                Err(_) => Err(Failure {
                    kind: Kind::Retry,
                    text: format!("no answer within {timeout:?}; is it overloaded?"),
                }),
            }
        }
    }

    /// Makes the next request dial anew.
    pub(super) fn hang_up(&mut self) {
        self.channel = None;
    }
}

async fn ingest(
    channel: Channel,
    request: Request<EncodedRequest>,
) -> Result<IngestResponse, Status> {
    let mut client = Grpc::new(channel);
    client.ready().await.map_err(|error| Status::from_error(error.into()))?;
    let codec = ProstCodec::<EncodedRequest, IngestResponse>::default();
    Ok(client.unary(request, INGEST, codec).await?.into_inner())
}

/// The key as it is now; none when it is empty.
async fn current(key: Secret) -> Result<Option<MetadataValue<Ascii>>, Failure> {
    let value = match key {
        Secret::Text(_) => metadata(&key),
        // A file may hang, as on a network: no worker waits for it.
        Secret::File(_) | Secret::Awaited(_) => tokio::task::spawn_blocking(move || metadata(&key))
            .await
            .unwrap_or_else(|error| Err(error.to_string())),
    };
    value.map_err(|text| Failure {
        kind: Kind::Misconfigured,
        text: format!("use the API key: {text}"),
    })
}

fn metadata(key: &Secret) -> Result<Option<MetadataValue<Ascii>>, String> {
    let text = key.reveal().map_err(|error| error.to_string())?;
    if text.is_empty() {
        return Ok(None);
    }
    let mut value: MetadataValue<Ascii> = text.parse().map_err(|_| {
        "it has characters other than visible ASCII; check MCPULSE_API_KEY".to_owned()
    })?;
    value.set_sensitive(true);
    Ok(Some(value))
}

fn authorities(path: &PathBuf) -> Result<Certificate, Error> {
    let error = |problem: String| Error::Authorities { path: path.clone(), problem };
    let pem = fs::read(path).map_err(|failed| error(failed.to_string()))?;
    match CertificateDer::pem_slice_iter(&pem).next() {
        Some(Ok(_)) => Ok(Certificate::from_pem(pem)),
        Some(Err(failed)) => Err(error(failed.to_string())),
        None => Err(error("it has no PEM certificate".to_owned())),
    }
}

/// What the codes mean here; `Internal`, `Unknown` and `DataLoss` are what servers answer when
/// a database is down, and when it cannot hold a value.
fn failure(status: &Status) -> Failure {
    let (kind, remedy) = match status.code() {
        _ if let Some(trouble) = tls(status) => {
            let remedy = match trouble {
                Trouble::Untrusted => "; name the authority of its certificate: --mcpulse-ca-file",
                Trouble::Authority => {
                    "; it shows an authority's certificate: make it one with CA:FALSE, and name that: --mcpulse-ca-file"
                }
                Trouble::Useless => {
                    "; it needs a server's certificate, for this name and not expired"
                }
                Trouble::Unspoken => "; does it speak TLS? if not: --mcpulse-tls false",
                Trouble::Failed => "; TLS failed: check MCPULSE_URL and its certificate",
            };
            (Kind::Retry, remedy)
        }
        _ if unheard(status) => {
            (Kind::Retry, "; is it MCPulse, and does it want TLS? then: --mcpulse-tls true")
        }
        Code::Unauthenticated | Code::PermissionDenied => {
            (Kind::Misconfigured, "; it rejects the API key: check MCPULSE_API_KEY")
        }
        Code::Unimplemented => {
            (Kind::Misconfigured, "; what answers is not MCPulse: check MCPULSE_URL")
        }
        Code::ResourceExhausted => (Kind::TooMuch, ""),
        // Its own limit, or ours that it was told of.
        Code::DeadlineExceeded | Code::Cancelled => (Kind::Retry, "; is it overloaded?"),
        Code::InvalidArgument | Code::OutOfRange | Code::FailedPrecondition | Code::NotFound => {
            (Kind::Refused, "")
        }
        Code::AlreadyExists => (Kind::Duplicate, ""),
        Code::Internal | Code::Unknown | Code::DataLoss if status.source().is_none() => {
            (Kind::Broken, "; see its log")
        }
        Code::Unavailable if status.source().is_some() => {
            (Kind::Retry, "; start it, or name its address in MCPULSE_URL (none: no reporting)")
        }
        _ => (Kind::Retry, "; see its log"),
    };
    let mut text = cause(status);
    text.push_str(remedy);
    Failure { kind, text }
}
