//! Asks a remote server, through the relay that would stand before it.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};

use super::hello;
use crate::{
    bind::bind,
    config::{Listen, Remote, Secret},
    mcp::header::SESSION_ID,
    ready::Ready,
    relay::{
        http::{HttpRelay, Listener},
        site::Site,
    },
    shutdown::Shutdown,
    sink::veil,
    tap::Tap,
    traffic::HttpTransport,
};

/// Bytes of an answer that are looked at.
const ENOUGH: usize = 1 << 20;

/// What the server says to the question.
pub(super) async fn ask(remote: &Remote, transport: HttpTransport) -> Result<String, String> {
    let listen = Listen::new("127.0.0.1:0");
    let (server_id, counters) = (Arc::from("check"), Arc::default());
    let relay = HttpRelay::new(remote.clone(), listen.clone(), transport, server_id, counters)
        .map_err(|error| error.to_string())?;
    let socket = bind(&listen.address).await.map_err(|error| error.to_string())?;
    let address = socket.local_addr().map_err(|error| error.to_string())?;
    let (tap, _) = Tap::new(0);
    tap.close();
    let (gate, shutdown) = (Ready::default().gate("upstream"), Shutdown::default());
    let listener = Listener::new(&listen, Arc::default(), shutdown.clone());
    let listener = listener.map_err(|error| error.to_string())?;
    let site = Site::of_remote(relay, Arc::default(), address, tap, gate, shutdown);
    let asking = tokio::time::timeout(hello::PATIENCE, asked(address, remote, transport));
    let url = veil::address(&remote.url);
    tokio::select! {
        answer = asking => match answer {
            Ok(Ok(answer)) => Ok(format!("{url} {answer}")),
            Ok(Err(problem)) => Err(format!("{url} {problem}")),
            Err(_) => Err(format!(
                "{url} has not answered within {:?}; is it overloaded, or another kind of server?",
                hello::PATIENCE
            )),
        },
        () = site.serve(listener, socket) => Err("the relay has ended".to_owned()),
    }
}

async fn asked(
    relay: SocketAddr,
    remote: &Remote,
    transport: HttpTransport,
) -> Result<String, String> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let send = async |request| {
        client.request(request).await.map_err(|error| format!("cannot be asked: {error}"))
    };
    let token = remote.bearer_token.as_ref().map(Secret::reveal).transpose();
    let token = token.map_err(|error| error.to_string())?;
    let request = |method: Method, path: &str, body: String| {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{relay}{path}"))
            .header(header::ACCEPT, "application/json, text/event-stream")
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = &token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        request.body(Full::new(Bytes::from(body))).map_err(|error| error.to_string())
    };
    if transport == HttpTransport::LegacySse {
        let response = send(request(Method::GET, "/sse", String::new())?).await?;
        return heard(response, |line| {
            let endpoint = line.strip_prefix(b"data:")?.trim_ascii();
            let endpoint = String::from_utf8_lossy(endpoint);
            Some(Ok(format!("answers: messages go to {}", veil::address(&endpoint))))
        })
        .await;
    }
    let response = send(request(Method::POST, "/mcp", hello::question())?).await?;
    let session = response.headers().get(SESSION_ID).cloned();
    let answer = heard(response, |line| {
        hello::answer(line.strip_prefix(b"data:").unwrap_or(line).trim_ascii())
    })
    .await;
    if let Some(session) = session {
        let mut end = request(Method::DELETE, "/mcp", String::new())?;
        end.headers_mut().insert(SESSION_ID, session);
        // Leaves no session behind; a server may refuse that.
        let _ = send(end).await;
    }
    answer
}

/// Reads line by line until one is the answer. A body of JSON may have several lines, and is
/// tried as a whole at its end.
async fn heard(
    response: Response<Incoming>,
    is_answer: impl Fn(&[u8]) -> Option<Result<String, String>>,
) -> Result<String, String> {
    let status = response.status();
    let (mut body, mut read) = (response.into_body(), Vec::new());
    while read.len() < ENOUGH
        && let Some(Ok(frame)) = body.frame().await
    {
        read.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        if status.is_success() {
            let lines = read.split_inclusive(|&byte| byte == b'\n');
            let mut whole = lines.filter(|line| line.ends_with(b"\n"));
            if let Some(answer) = whole.find_map(&is_answer) {
                return answer;
            }
        }
    }
    if status.is_success() {
        let nothing = "answers, but not with MCP; check its path";
        return is_answer(&read).unwrap_or_else(|| Err(nothing.to_owned()));
    }
    Err(refused(status, &read))
}

fn refused(status: StatusCode, body: &[u8]) -> String {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let ours = body["error"]["data"]["source"] == env!("CARGO_PKG_NAME");
    match (status, body["error"]["message"].as_str()) {
        (_, Some(message)) if ours => format!("cannot be reached: {message}"),
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => {
            format!("answers {status}; set --bearer-token or --header")
        }
        (StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED, _) => {
            format!(
                "answers {status}; check the path of --remote-url, and whether it is http or sse"
            )
        }
        (_, Some(message)) => format!("answers {status}: {message}"),
        (_, None) => format!("answers {status}; see its log"),
    }
}
