//! The simplest programs that move the same bytes, which no proxy can beat by much.

use std::{
    net::SocketAddr,
    process::{Command, Stdio},
    thread,
};

use anyhow::Context;
use hyper::{Request, body::Incoming, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use tokio::net::TcpListener;

/// Copies standard input to a child and the child's output back, in a thread each.
pub(crate) fn stdio(command: &[String]) -> anyhow::Result<()> {
    let (program, arguments) = command.split_first().context("no command to relay to")?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {program}"))?;
    let to_child = child.stdin.take().context("the child has no stdin")?;
    let from_child = child.stdout.take().context("the child has no stdout")?;
    thread::spawn(move || copy(rustix::stdio::stdin(), to_child));
    copy(from_child, rustix::stdio::stdout());
    child.wait()?;
    Ok(())
}

fn copy(from: impl rustix::fd::AsFd, to: impl rustix::fd::AsFd) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count) = rustix::io::read(&from, &mut buffer) {
        let mut rest = &buffer[..count];
        if rest.is_empty() {
            return;
        }
        while !rest.is_empty() {
            match rustix::io::write(&to, rest) {
                Ok(written) => rest = &rest[written..],
                Err(_) => return,
            }
        }
    }
}

/// Forwards HTTP requests and answers as they are.
pub(crate) async fn http(upstream: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    crate::process::announce(listener.local_addr()?)?;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<_, Incoming> = Client::builder(TokioExecutor::new()).build(connector);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let client = client.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            let client = client.clone();
            async move {
                let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
                let uri = format!("http://{upstream}{path}").parse();
                *request.uri_mut() = uri.map_err(anyhow::Error::from)?;
                client.request(request).await.map_err(anyhow::Error::from)
            }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            // The load generator ends by closing its connections.
            let _ = connection.await;
        });
    }
}
