//! A gate before an API server: what comes through it takes longer, and now and then it answers
//! itself, as an API server that is busy, or that has forgotten what watches saw.

use std::{
    convert::Infallible,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{
    Method, Request, Response,
    header::{AUTHORIZATION, HOST},
};
use http_body_util::BodyExt;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};

use crate::cluster::Cluster;

/// How much longer an answer takes.
const DELAY: Duration = Duration::from_millis(200);

/// Kinds of requests.
const READ: usize = 0;
const WRITE: usize = 1;
const WATCH: usize = 2;

/// A gate, until it is dropped.
pub(crate) struct Gate {
    kubeconfig: NamedTempFile,
    rules: Arc<Rules>,
    serving: JoinHandle<()>,
}

/// What happens to requests.
struct Rules {
    behind: Client,
    busy: AtomicBool,
    keeps_leases: AtomicBool,
    requests: AtomicUsize,
    leases: AtomicUsize,
    /// Those that might have been answered otherwise: reads, writes, watches.
    chances: [AtomicUsize; 3],
    troubles: [AtomicUsize; 3],
}

impl Gate {
    /// Opens one for the owner of a kubeconfig.
    pub(crate) async fn before(cluster: &Cluster, rights: &Path) -> Self {
        let text = fs::read_to_string(rights).expect("a kubeconfig");
        let mut config: Value = serde_json::from_str(&text).expect("JSON");
        let token = config["users"][0]["user"]["token"].as_str().expect("a token");
        let rules = Arc::new(Rules {
            behind: cluster.plane.client_with(token),
            busy: AtomicBool::new(true),
            keeps_leases: AtomicBool::new(false),
            requests: AtomicUsize::new(0),
            leases: AtomicUsize::new(0),
            chances: [const { AtomicUsize::new(0) }; 3],
            troubles: [const { AtomicUsize::new(0) }; 3],
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("its address").port();
        config["clusters"][0]["cluster"] = json!({"server": format!("http://127.0.0.1:{port}")});
        let kubeconfig = NamedTempFile::new().expect("a file");
        fs::write(kubeconfig.path(), config.to_string()).expect("a kubeconfig");
        let all = Arc::clone(&rules);
        let serving = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let rules = Arc::clone(&all);
                connections.spawn(async move {
                    let service = service_fn(|request| rules.pass(request));
                    // Clients come and go as they like.
                    let _ =
                        http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
                });
            }
        });
        Self { kubeconfig, rules, serving }
    }

    /// The way through it.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig.path().to_owned()
    }

    /// From now on everything goes through at once.
    pub(crate) fn calm(&self) {
        self.rules.busy.store(false, Ordering::Relaxed);
    }

    /// Lets no request about leases through, or all.
    pub(crate) fn keep_leases(&self, kept: bool) {
        self.rules.keeps_leases.store(kept, Ordering::Relaxed);
    }

    /// Requests so far, and how many of them were about leases.
    pub(crate) fn asked(&self) -> (usize, usize) {
        let rules = &self.rules;
        (rules.requests.load(Ordering::Relaxed), rules.leases.load(Ordering::Relaxed))
    }

    /// How often it answered itself: that too much was asked, that something has changed since,
    /// that something is not known any more.
    pub(crate) fn troubles(&self) -> [usize; 3] {
        self.rules.troubles.each_ref().map(|count| count.load(Ordering::Relaxed))
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Rules {
    async fn pass(&self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let (method, uri) = (request.method().clone(), request.uri().clone());
        if uri.path().contains("/leases") {
            self.leases.fetch_add(1, Ordering::Relaxed);
            if self.keeps_leases.load(Ordering::Relaxed) {
                return Ok(status(503, "ServiceUnavailable"));
            }
        }
        if self.busy.load(Ordering::Relaxed) {
            tokio::time::sleep(DELAY).await;
            let watches = uri.query().is_some_and(|query| query.contains("watch=true"));
            let kind = match (watches, &method) {
                (true, _) => WATCH,
                (false, &Method::GET) => READ,
                (false, _) => WRITE,
            };
            if let Some(answer) = self.trouble(kind) {
                return Ok(answer);
            }
        }
        let (mut head, body) = request.into_parts();
        // It has its own.
        head.headers.remove(AUTHORIZATION);
        head.headers.remove(HOST);
        let Ok(body) = body.collect().await else { return Ok(status(400, "BadRequest")) };
        let request = Request::from_parts(head, Body::from(body.to_bytes()));
        Ok(match self.behind.send(request).await {
            Ok(response) => response,
            Err(_) => status(503, "ServiceUnavailable"),
        })
    }

    /// An answer that is none of the API server's, to one of four requests of a kind.
    fn trouble(&self, kind: usize) -> Option<Response<Body>> {
        let number = self.chances[kind].fetch_add(1, Ordering::Relaxed) as u64;
        // In no rhythm with those who try again.
        let dice = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 61;
        let (which, answer) = match (kind, dice) {
            (WATCH, 2 | 5) => {
                let event = json!({"type": "ERROR", "object": of(410, "Expired")});
                (2, Response::new(Body::from(format!("{event}\n").into_bytes())))
            }
            (READ | WRITE, 2) => (0, status(429, "TooManyRequests")),
            (WRITE, 5) => (1, status(409, "Conflict")),
            (READ, 5) => (2, status(410, "Expired")),
            _ => return None,
        };
        self.troubles[which].fetch_add(1, Ordering::Relaxed);
        Some(answer)
    }
}

fn of(code: u16, reason: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code,
           "reason": reason, "message": format!("{reason}, says the gate")})
}

fn status(code: u16, reason: &str) -> Response<Body> {
    let response = Response::builder().status(code).header("content-type", "application/json");
    let response = response.header("retry-after", "1");
    response.body(Body::from(of(code, reason).to_string().into_bytes())).expect("a response")
}
