//! The simplest programs that move the same bytes from one transport to the other: no ids are
//! read, nothing is resumed, limited or observed.

use std::{
    collections::HashMap,
    io::{BufRead, Write},
    process::Stdio,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, header, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
    process::{Child, ChildStdin, ChildStdout, Command},
};

const SESSION: &str = "mcp-session-id";

/// A program, of which one thing at a time is asked.
struct Program {
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    _child: Child,
}

impl Program {
    fn start(command: &[String]) -> anyhow::Result<Self> {
        let (program, arguments) = command.split_first().context("no command to serve")?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {program}"))?;
        let input = child.stdin.take().context("the program has no stdin")?;
        let output = child.stdout.take().context("the program has no stdout")?;
        Ok(Self { input, output: BufReader::new(output), _child: child })
    }

    async fn ask(&mut self, message: Bytes) -> anyhow::Result<Vec<u8>> {
        let line = [&*message, b"\n"].concat();
        self.input.write_all(&line).await?;
        let mut answer = Vec::with_capacity(256);
        self.output.read_until(b'\n', &mut answer).await?;
        answer.pop();
        Ok(answer)
    }
}

/// The sessions, each with a program of its own.
struct Programs {
    command: Vec<String>,
    count: AtomicU64,
    table: Mutex<HashMap<Vec<u8>, Arc<tokio::sync::Mutex<Program>>>>,
}

impl Programs {
    /// A request without a session begins one.
    async fn answer(&self, request: Request<Incoming>) -> anyhow::Result<Response<Full<Bytes>>> {
        let session = request.headers().get(SESSION).map(|id| id.as_bytes().to_vec());
        let message = request.into_body().collect().await?.to_bytes();
        let begun = match session {
            Some(_) => None,
            None => Some(self.count.fetch_add(1, Ordering::Relaxed).to_string()),
        };
        let id = session.or_else(|| begun.clone().map(String::into_bytes)).unwrap_or_default();
        let program = {
            let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
            if begun.is_some() {
                let program = Program::start(&self.command)?;
                table.insert(id.clone(), Arc::new(tokio::sync::Mutex::new(program)));
            }
            table.get(&id).cloned().context("an unknown session")?
        };
        let answer = program.lock().await.ask(message).await?;
        let mut response = Response::builder().header(header::CONTENT_TYPE, "application/json");
        if let Some(begun) = begun {
            response = response.header(SESSION, begun);
        }
        Ok(response.body(Full::from(answer))?)
    }
}

/// Serves a program over HTTP; prints the address.
pub(crate) async fn to_stdio(command: Vec<String>) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    crate::process::announce(listener.local_addr()?)?;
    let (count, table) = (AtomicU64::default(), Mutex::default());
    let programs = Arc::new(Programs { command, count, table });
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let programs = Arc::clone(&programs);
        let service = service_fn(move |request| {
            let programs = Arc::clone(&programs);
            async move { programs.answer(request).await }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            // The load generator ends by closing its connections.
            let _ = connection.await;
        });
    }
}

/// Sends each line of standard input to a server over HTTP and prints what comes back.
pub(crate) fn to_http(url: &str) -> anyhow::Result<()> {
    let runtime = crate::runtime()?;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    for line in std::io::stdin().lock().split(b'\n') {
        let request = Request::post(url)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, text/event-stream")
            .body(Full::from(line?))?;
        let answer = client.request(request);
        runtime.spawn(async move {
            let body = answer.await?.into_body().collect().await?.to_bytes();
            std::io::stdout().lock().write_all(&[&*body, b"\n"].concat())?;
            anyhow::Ok(())
        });
    }
    Ok(())
}
