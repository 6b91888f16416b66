//! Clients over HTTP whose requests are written out by the test.

use bytes::Bytes;
use http::{Method, Request, Response, request::Builder};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;
use tokio::time::timeout;

use crate::faults::PATIENCE;

/// A client of what is at one address.
pub(crate) struct Web {
    base: String,
    pub(crate) client: Client<HttpConnector, Full<Bytes>>,
}

/// What a client got.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) session: Option<String>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The status, the id and the code of an error.
    pub(crate) fn error(&self) -> (u16, Value, i64) {
        let body = self.json();
        (self.status, body["id"].clone(), body["error"]["code"].as_i64().unwrap_or_default())
    }
}

impl Web {
    /// Of `base`, in front of which paths stand.
    pub(crate) fn of(base: String) -> Self {
        // A refusal may close the connection before its body was read.
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http();
        Self { base, client }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub(crate) fn request(&self, method: Method, path: &str, session: Option<&str>) -> Builder {
        let request = Request::builder()
            .method(method)
            .uri(self.url(path))
            .header("accept", "application/json, text/event-stream")
            .header("content-type", "application/json");
        match session {
            Some(session) => request.header("mcp-session-id", session),
            None => request,
        }
    }

    pub(crate) async fn send(
        &self,
        request: Builder,
        body: impl Into<Bytes>,
    ) -> Response<Incoming> {
        let request = request.body(Full::new(body.into())).expect("a request");
        let sent = timeout(PATIENCE, self.client.request(request)).await;
        sent.expect("the head of an answer").expect("HTTP")
    }

    pub(crate) async fn exchange(&self, request: Builder, body: impl Into<Bytes>) -> Answer {
        let response = self.send(request, body).await;
        let session = response.headers().get("mcp-session-id");
        let session = session.map(|id| id.to_str().expect("text").to_owned());
        let status = response.status().as_u16();
        let body = timeout(PATIENCE, response.into_body().collect()).await.expect("a body");
        let body = String::from_utf8_lossy(&body.expect("whole").to_bytes()).into_owned();
        Answer { status, session, body }
    }
}
