//! HTTP byte by byte: clients and servers made by hand at both ends of the real proxy.

use mcpulse_tests::Proxy;
use tokio::process::Command;

use super::faults::upstream::Front;
use wire::{Server, Wire};

mod draining;
mod limits;
mod passing;
mod resending;
mod streaming;
mod trailers;
mod versions;
mod wire;

/// A proxy with both of its ends.
#[derive(Debug)]
struct Scene {
    server: Server,
    front: Front,
}

impl Scene {
    async fn set(flags: &[&str]) -> Self {
        let server = Server::start().await;
        let front = Front::of(server.address(), flags).await;
        Self { server, front }
    }

    async fn client(&self) -> Wire {
        Wire::to(self.front.address()).await
    }

    /// One exchange on connections of its own: what the server was told, and the client.
    async fn pass(&mut self, request: &[u8], answer: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let mut client = self.client().await;
        client.say(request).await;
        let mut server = self.server.accept().await;
        let heard = server.message().await;
        server.say(answer).await;
        drop(server);
        (heard, client.rest().await.0)
    }
}

/// Starts it in front of the server with this URL, showing its figures and reporting to nobody.
fn before(kind: &str, url: &str) -> Command {
    let own = ["--server-id", "x", "--mcpulse-url", "none", "--metrics-listen", "127.0.0.1:0"];
    Proxy::command([&[kind, "--remote-url", url, "--listen", "127.0.0.1:0"], &own[..]].concat())
}

/// A request that posts this message.
fn post(message: &str) -> String {
    format!(
        "POST /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{message}",
        message.len()
    )
}

/// The lines of a head, sorted but for the first, without those that every hop has of its own.
fn lines(message: &[u8]) -> Vec<Vec<u8>> {
    let end = message.windows(4).position(|it| it == b"\r\n\r\n").expect("a whole head");
    let mut lines = message[..end].split(|byte| *byte == b'\n');
    let first = lines.next().expect("a first line").trim_ascii_end().to_vec();
    let mut rest: Vec<_> = lines.map(|line| line.trim_ascii_end().to_vec()).collect();
    rest.retain(|line| {
        let own: [&[u8]; 3] = [b"host:", b"connection:", b"accept-encoding:"];
        !own.iter().any(|own| line.to_ascii_lowercase().starts_with(own))
    });
    rest.sort();
    rest.insert(0, first);
    rest
}

/// What follows the head.
fn body(message: &[u8]) -> &[u8] {
    let end = message.windows(4).position(|it| it == b"\r\n\r\n").expect("a whole head");
    &message[end + 4..]
}
