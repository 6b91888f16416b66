//! What waits for what between a client on standard streams and a server: nothing waits for what
//! a server owes nobody, and nothing is without a bound.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use mcpulse_tests::eventually;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy},
    net::{TcpSocket, TcpStream},
    sync::{broadcast, mpsc, watch},
};

use super::{
    PATIENCE,
    faults::{count, modern, waiting},
    script::{Reply, Script, Talk},
};

/// Responses that go on until somebody leaves them.
#[derive(Clone, Default)]
struct Endless(Arc<AtomicUsize>);

impl Endless {
    /// One that goes on with a comment every so often.
    fn reply(&self, (reply, sender): (Reply, mpsc::Sender<Bytes>)) -> Reply {
        let Self(open) = self.clone();
        open.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(async move {
            while sender.send(Bytes::from(": more\n\n")).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            open.fetch_sub(1, Ordering::SeqCst);
        });
        reply
    }

    /// Waits until there are so many.
    async fn come_to(&self, number: usize) {
        eventually(&format!("{number} are open"), PATIENCE, async || {
            (self.0.load(Ordering::SeqCst) == number).then_some(())
        })
        .await;
    }
}

/// What neither passes a dam nor fits into the buffers before it.
pub(super) const UNDAMMED: usize = 8 << 20;

/// Leads to `script`, but lets no more of a connection pass than its first 64 KiB, after which it
/// says that it is `full`, until `open`.
pub(super) async fn dam(
    script: &Script,
    full: mpsc::Sender<()>,
    open: watch::Receiver<bool>,
) -> String {
    let socket = TcpSocket::new_v4().expect("a socket");
    // Its connections have the same: the less waits before the dam, the less has to be said.
    socket.set_recv_buffer_size(64 << 10).expect("a buffer");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("a port");
    let listener = socket.listen(16).expect("a listener");
    let url = format!("http://{}/mcp", listener.local_addr().expect("an address"));
    let to = script.address();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (full, mut open) = (full.clone(), open.clone());
            tokio::spawn(async move {
                let server = TcpStream::connect(to).await.expect("the script listens");
                let (from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                let up = async {
                    let mut first = from_client.take(64 << 10);
                    copy(&mut first, &mut to_server).await?;
                    // Nobody listens after the test.
                    let _ = full.send(()).await;
                    let _ = open.wait_for(|open| *open).await;
                    copy(&mut first.into_inner(), &mut to_server).await?;
                    to_server.shutdown().await
                };
                let down = async {
                    copy(&mut from_server, &mut to_client).await?;
                    to_client.shutdown().await
                };
                let _ = tokio::join!(up, down);
            });
        }
    });
    url
}

/// A call with an argument of so many bytes.
pub(super) fn large(id: u64, bytes: usize) -> Value {
    json!({
        "jsonrpc": "2.0", "id": id, "method": "tools/call",
        "params": { "name": "t", "arguments": { "a": "x".repeat(bytes) } },
    })
}

fn cancel(id: u64) -> Value {
    json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": id } })
}

#[tokio::test]
async fn nothing_waits_for_a_response_that_goes_on_after_its_answer() {
    let endless = Endless::default();
    let script = Script::start({
        let endless = endless.clone();
        move |asked, _| {
            let answer = json!({
                "jsonrpc": "2.0", "id": asked.body["id"],
                "result": { "protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {} },
            });
            std::future::ready(match &*asked.name() {
                "initialize" | "tools/call" => {
                    endless.reply(Reply::stream(format!("data: {answer}\n\n")))
                }
                "notifications/initialized" => endless.reply(Reply::empty(202).open()),
                _ => asked.usual("one"),
            })
        }
    })
    .await;
    let mut talk = Talk::to(&script).await;
    talk.begin().await;
    // More than are in flight at once.
    for id in 1..=130 {
        talk.call(id).await;
    }
    for _ in 1..=130 {
        assert!(talk.hear().await["result"].is_object());
    }
    // They are given a second, and not one after each thing that they say.
    endless.come_to(0).await;
    talk.proxy.scrape().await.assert_balanced();
}

#[tokio::test]
async fn answers_and_cancellations_pass_requests_that_fill_all_room() {
    let (answered, _) = broadcast::channel(1);
    let script = Script::start(move |asked, _| {
        let (answered, mut heard) = (answered.clone(), answered.subscribe());
        async move {
            match (&*asked.name(), asked.body["id"].as_u64()) {
                ("tools/call", Some(1)) => {
                    let ping = json!({ "jsonrpc": "2.0", "id": 7, "method": "ping" });
                    let (reply, sender) = Reply::stream(format!("data: {ping}\n\n"));
                    tokio::spawn(async move {
                        heard.recv().await.expect("an answer");
                        let answer = json!({ "jsonrpc": "2.0", "id": 1, "result": {} });
                        sender.send(format!("data: {answer}\n\n").into()).await
                    });
                    reply
                }
                ("tools/call", Some(2)) => std::future::pending().await,
                ("POST", Some(7)) => {
                    answered.send(()).expect("the call waits");
                    asked.usual("one")
                }
                _ => asked.usual("one"),
            }
        }
    })
    .await;
    let mut talk = Talk::to(&script).await;
    talk.begin().await;
    // The server has taken it, and wants an answer first.
    talk.say(&large(1, 64 << 20)).await;
    assert_eq!(talk.hear().await["method"], "ping");
    talk.say(&json!({ "jsonrpc": "2.0", "id": 7, "result": {} })).await;
    assert_eq!(talk.hear().await["id"], 1);
    // The server does not take it.
    talk.say(&large(2, 64 << 20)).await;
    waiting(&script, 2).await;
    talk.call(3).await;
    talk.say(&cancel(2)).await;
    assert_eq!(talk.hear().await["id"], 3);
    assert_eq!(
        script.names().split_off(script.asked().len() - 3),
        ["tools/call", "notifications/cancelled", "tools/call"]
    );
    talk.proxy.scrape().await.assert_balanced();
}

#[tokio::test]
async fn notifications_arrive_in_order_and_nothing_waits_for_them() {
    let script = Script::start(|asked, before| async move {
        if asked.name() == "notifications/progress" {
            let early = count(&before, "notifications/progress") < 2;
            tokio::time::sleep(Duration::from_millis(if early { 200 } else { 0 })).await;
        }
        asked.usual("one")
    })
    .await;
    let mut talk = Talk::to(&script).await;
    talk.begin().await;
    let note = |progress: u64| {
        json!({
            "jsonrpc": "2.0", "method": "notifications/progress",
            "params": { "progressToken": 1, "progress": progress },
        })
    };
    for progress in 0..100 {
        talk.say(&note(progress)).await;
    }
    talk.call(1).await;
    assert_eq!(talk.hear().await["id"], 1);
    assert!(count(&script.asked(), "notifications/progress") < 100, "the call did not wait");
    eventually("all are with the server", PATIENCE, async || {
        (count(&script.asked(), "notifications/progress") == 100).then_some(())
    })
    .await;
    let asked = script.asked();
    let notes = asked.iter().filter(|asked| asked.name() == "notifications/progress");
    let order: Vec<_> = notes.map(|asked| asked.body["params"]["progress"].as_u64()).collect();
    assert_eq!(order, (0..100).map(Some).collect::<Vec<_>>());
    talk.proxy.scrape().await.assert_balanced();
}

#[tokio::test]
async fn a_cancelled_request_is_left() {
    let endless = Endless::default();
    let script = Script::start({
        let endless = endless.clone();
        move |asked, _| {
            std::future::ready(match &*asked.name() {
                "tools/call" => endless.reply(Reply::stream("")),
                _ => asked.usual("one"),
            })
        }
    })
    .await;
    let mut talk = Talk::to(&script).await;
    talk.begin().await;
    for id in 1..=20 {
        talk.call(id).await;
    }
    endless.come_to(20).await;
    for id in 1..=20 {
        talk.say(&cancel(id)).await;
    }
    endless.come_to(0).await;
    assert_eq!(count(&script.asked(), "notifications/cancelled"), 20);
    talk.proxy.scrape().await.assert_balanced();
}

#[tokio::test]
async fn calls_that_are_answered_elsewhere_are_left() {
    let endless = Endless::default();
    let own: Arc<watch::Sender<Option<mpsc::Sender<Bytes>>>> = Arc::default();
    let script = Script::start({
        let endless = endless.clone();
        move |asked, _| {
            let (endless, own) = (endless.clone(), Arc::clone(&own));
            async move {
                match (&*asked.name(), asked.body["id"].as_u64()) {
                    ("GET", _) => {
                        let (reply, sender) = Reply::stream(": nothing yet\n\n");
                        own.send_replace(Some(sender));
                        reply
                    }
                    ("tools/call", Some(..=128)) => {
                        let answer =
                            json!({ "jsonrpc": "2.0", "id": asked.body["id"], "result": {} });
                        let mut own = own.subscribe();
                        let sender = own.wait_for(Option::is_some).await.expect("a stream").clone();
                        let sender = sender.expect("a stream");
                        sender.send(format!("data: {answer}\n\n").into()).await.expect("heard");
                        endless.reply(Reply::stream(""))
                    }
                    _ => asked.usual("one"),
                }
            }
        }
    })
    .await;
    let mut talk = Talk::to(&script).await;
    talk.begin().await;
    for id in 1..=129 {
        talk.call(id).await;
    }
    for _ in 1..=129 {
        assert!(talk.hear().await["result"].is_object());
    }
    endless.come_to(0).await;
    let records = talk.receiver.wait_for(129, PATIENCE).await;
    assert!(records.iter().all(|call| call.error_type.is_empty()), "{records:#?}");
    talk.proxy.scrape().await.assert_balanced();
}

#[tokio::test]
async fn subscriptions_keep_no_call_waiting() {
    let endless = Endless::default();
    let script = Script::start({
        let endless = endless.clone();
        move |asked, _| {
            std::future::ready(match &*asked.name() {
                "subscriptions/listen" => endless.reply(Reply::stream("")),
                _ => asked.usual("none"),
            })
        }
    })
    .await;
    let mut talk = Talk::to(&script).await;
    for id in 1..=129 {
        let mut listen = modern(id, "", &Value::Null);
        listen["method"] = "subscriptions/listen".into();
        talk.say(&listen).await;
    }
    endless.come_to(128).await;
    talk.say(&modern(200, "t", &json!({}))).await;
    assert_eq!(talk.hear().await["id"], 200);
    assert_eq!(count(&script.asked(), "subscriptions/listen"), 128);
    talk.say(&cancel(1)).await;
    eventually("the last one has its turn", PATIENCE, async || {
        (count(&script.asked(), "subscriptions/listen") == 129).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_batch_of_which_nothing_is_wanted_is_left() {
    let endless = Endless::default();
    let script = Script::start({
        let endless = endless.clone();
        move |asked, _| {
            std::future::ready(if asked.body.is_array() {
                let answer = json!({ "jsonrpc": "2.0", "id": 1, "result": {} });
                endless.reply(Reply::stream(format!("data: {answer}\n\n")))
            } else {
                asked.usual("one")
            })
        }
    })
    .await;
    let mut talk = Talk::to(&script).await;
    talk.begin().await;
    talk.say(&Value::Array([1, 2, 3].map(|id| large(id, 0)).to_vec())).await;
    assert_eq!(talk.hear().await["id"], 1);
    talk.say(&cancel(2)).await;
    talk.call(4).await;
    assert_eq!(talk.hear().await["id"], 4);
    endless.come_to(1).await;
    talk.say(&cancel(3)).await;
    endless.come_to(0).await;
    let records = talk.receiver.wait_for(4, PATIENCE).await;
    let cancelled = records.iter().filter(|call| call.error_type == "cancelled").count();
    assert_eq!((records.len(), cancelled), (4, 2), "{records:#?}");
    talk.proxy.scrape().await.assert_balanced();
}

#[tokio::test]
async fn a_batch_of_notifications_waits_for_its_turn() {
    let script = Script::start(|asked, before| async move {
        // Long enough for whoever does not wait.
        let pause = if before.len() < 3 { 100 } else { 0 };
        tokio::time::sleep(Duration::from_millis(pause)).await;
        asked.usual("one")
    })
    .await;
    let mut talk = Talk::to(&script).await;
    let note =
        |number: u64| json!({ "jsonrpc": "2.0", "method": "n", "params": { "number": number } });
    talk.ask(0, "initialize", json!({ "protocolVersion": "2025-03-26" })).await;
    talk.say(&json!([note(1), note(2)])).await;
    talk.say(&note(3)).await;
    talk.say(&json!([note(4)])).await;
    assert_eq!(talk.hear().await["id"], 0);
    eventually("all are with the server", PATIENCE, async || {
        (script.asked().len() == 4).then_some(())
    })
    .await;
    let asked = script.asked();
    assert!(asked[1..].iter().all(|asked| asked.header("mcp-session-id") == "one"));
    let first = |body: &Value| body.get(0).unwrap_or(body)["params"]["number"].clone();
    let order: Vec<_> = asked[1..].iter().map(|asked| first(&asked.body)).collect();
    assert_eq!(order, [1, 3, 4]);
}

#[tokio::test]
async fn a_cancellation_follows_the_whole_request() {
    let script = Script::start(|asked, _| async move { asked.usual("one") }).await;
    let (open, opened) = watch::channel(false);
    let (full, mut filled) = mpsc::channel(1);
    let mut talk = Talk::with(&dam(&script, full, opened).await, &[]).await;
    talk.begin().await;
    talk.say(&large(1, UNDAMMED)).await;
    filled.recv().await.expect("a dam");
    talk.say(&cancel(1)).await;
    // Said after it, and answered: one that overtakes would be there.
    for id in 2..=3 {
        talk.call(id).await;
        assert_eq!(talk.hear().await["id"], id);
    }
    assert_eq!(count(&script.asked(), "notifications/cancelled"), 0);
    open.send_replace(true);
    eventually("both are with the server", PATIENCE, async || {
        let asked = script.asked();
        (count(&asked, "tools/call") == 3 && count(&asked, "notifications/cancelled") == 1)
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn initialize_can_be_cancelled_when_the_server_is_silent() {
    let script = Script::start(|asked, before| async move {
        match &*asked.name() {
            "initialize" if before.is_empty() => std::future::pending().await,
            "notifications/cancelled" => std::future::pending().await,
            _ => asked.usual("one"),
        }
    })
    .await;
    let mut talk = Talk::to(&script).await;
    talk.ask(0, "initialize", json!({ "protocolVersion": "2025-11-25" })).await;
    eventually("it is with the server", PATIENCE, async || {
        (count(&script.asked(), "initialize") == 1).then_some(())
    })
    .await;
    talk.say(&cancel(0)).await;
    talk.call(1).await;
    assert_eq!(talk.hear().await["id"], 1);
}

#[tokio::test]
async fn a_batch_is_sent_whatever_it_cancels() {
    let script = Script::start(|asked, _| async move {
        if asked.name() == "tools/call" {
            return std::future::pending().await;
        }
        let Some(ping) = asked.body.get(0) else { return asked.usual("one") };
        Reply::json(200, &json!([{ "jsonrpc": "2.0", "id": ping["id"], "result": {} }]))
    })
    .await;
    let mut talk = Talk::to(&script).await;
    talk.begin().await;
    talk.say(&modern(1, "t", &json!({}))).await;
    waiting(&script, 1).await;
    talk.say(&json!([{ "jsonrpc": "2.0", "id": 2, "method": "ping" }, cancel(1)])).await;
    assert_eq!(talk.hear().await[0]["id"], 2);
    talk.write(b"{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":7}\n").await;
    assert_eq!(talk.hear().await["id"], 3);
}

#[tokio::test]
async fn a_client_that_does_not_read_cannot_keep_the_proxy() {
    let script = Script::start(|asked, _| async move { asked.usual("one") }).await;
    let mut talk = Talk::to(&script).await;
    talk.begin().await;
    // More errors than fit into the pipe: written until the proxy reads no more.
    let flood = async {
        loop {
            talk.write(&b"x\n".repeat(1000)).await;
        }
    };
    let none: Result<(), _> = tokio::time::timeout(Duration::from_secs(1), flood).await;
    assert!(none.is_err());
    talk.stop();
    talk.end(Duration::from_secs(2)).await;
}
