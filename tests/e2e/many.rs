//! Several servers in one process: each under its own path and its own name, whatever kind it is,
//! and replaced one by one while the others go on.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::{Method, Response, request::Builder};
use hyper::body::Incoming;
use mcpulse_tests::{Collector, Proxy, Receiver, program};
use tempfile::TempDir;

use crate::{
    bridge::{INITIALIZE, Stream},
    web::{Answer, Web},
};

mod paths;
mod problems;
mod reload;

/// A proxy that runs by a file, and all that it reports to.
struct Scene {
    directory: TempDir,
    mcpulse: Receiver,
    collector: Collector,
    proxy: Proxy,
    web: Web,
}

impl Scene {
    /// With these servers, as entries of a list.
    async fn of(servers: &[String]) -> Self {
        let (mcpulse, collector) = (Receiver::start().await, Collector::start().await);
        let directory = TempDir::new().expect("a directory");
        let file = directory.path().join("mcpulse.yaml");
        let text = text(&list(servers), &mcpulse, &collector, directory.path());
        std::fs::write(&file, text).expect("a file");
        let proxy = Proxy::start(["run", "--config", file.to_str().expect("text")]);
        let web = Web::of(format!("http://{}", proxy.address().await));
        Self { directory, mcpulse, collector, proxy, web }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("mcpulse.yaml")
    }

    /// The file with other servers.
    fn text(&self, servers: &str) -> String {
        text(servers, &self.mcpulse, &self.collector, self.directory.path())
    }

    /// Puts another file in the place of the one that is there, as `mv` does.
    fn replace(&self, text: &str) {
        let new = self.directory.path().join("new");
        std::fs::write(&new, text).expect("a file");
        std::fs::rename(new, self.file()).expect("the file is replaced");
    }

    fn request(&self, method: Method, path: &str, session: Option<&str>) -> Builder {
        self.web.request(method, path, session)
    }

    async fn send(&self, request: Builder, body: impl Into<Bytes>) -> Response<Incoming> {
        self.web.send(request, body).await
    }

    async fn exchange(&self, request: Builder, body: impl Into<Bytes>) -> Answer {
        self.web.exchange(request, body).await
    }

    async fn post(&self, path: &str, session: Option<&str>, body: impl Into<Bytes>) -> Answer {
        self.exchange(self.request(Method::POST, path, session), body).await
    }

    async fn listen(&self, path: &str, session: &str) -> Stream {
        Stream::of(self.send(self.request(Method::GET, path, Some(session)), "").await)
    }

    async fn figure(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.proxy.scrape().await.sum(name, labels)
    }
}

/// Entries as the list of a file.
fn list(servers: &[String]) -> String {
    format!("servers:\n{}", servers.concat())
}

/// An entry for a program.
fn of_program(id: &str, name: &str, args: &[&str]) -> String {
    let program = program(name).display().to_string();
    format!(
        "  - serverId: {id}\n    upstream: {{stdio: {{program: '{program}', args: {args:?}}}}}\n"
    )
}

/// An entry for a server behind a URL.
fn of_remote(id: &str, kind: &str, url: &str) -> String {
    format!("  - serverId: {id}\n    upstream: {{{kind}: {{url: '{url}'}}}}\n")
}

fn text(servers: &str, mcpulse: &Receiver, collector: &Collector, directory: &Path) -> String {
    let log = directory.join("calls.jsonl");
    format!(
        "{servers}listen: {{address: '127.0.0.1:0', drainTimeout: 20s}}\n\
         metricsListen: 127.0.0.1:0\n\
         mcpulse: {{url: '{}', flushInterval: 20ms}}\n\
         otel: {{endpoint: '{}'}}\n\
         callLog: {}\n",
        mcpulse.url(),
        collector.url(),
        log.display()
    )
}
