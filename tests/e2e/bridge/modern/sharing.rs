//! Several programs that clients without sessions share: who is asked what, and what the end of
//! one of them means.

use std::{fs, os::unix::fs::PermissionsExt as _};

use http::Method;
use mcpulse_tests::{eventually, scrape};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    Actor, Answer, Bridge, PATIENCE, Stage, Stream, VERSION, call, number, request, result,
};

impl Actor {
    /// The number of the next request.
    async fn asked(&mut self) -> String {
        number(&self.hear().await.expect("a request"))
    }

    /// Hears a call and answers it.
    async fn answer(&mut self, wanted: &str) {
        let id = self.asked().await;
        self.say(&wanted.replace("ID", &id)).await;
    }
}

impl Stage {
    /// Asks something, and waits until a program that is started for it has heard it.
    async fn ask_another(
        &self,
        id: &str,
    ) -> (impl Future<Output = Answer> + use<'_>, Actor, String) {
        let mut asking = Box::pin(self.call(call(id, "")));
        let (actor, number) = tokio::select! {
            answer = &mut asking => panic!("nobody has answered: {answer:?}"),
            heard = async {
                loop {
                    let mut actor = self.enter().await;
                    let heard = actor.hear().await.expect("a request");
                    if !heard.contains("initialize") {
                        break (actor, number(&heard));
                    }
                    // The proxy looks for itself, since one has ended.
                    actor.say(&result("\"mcpulse-proxy\"")).await;
                }
            } => heard,
        };
        (asking, actor, number)
    }
}

/// As [`result`], under an id that is to be replaced.
fn answer() -> String {
    result("ID")
}

#[tokio::test]
async fn a_call_goes_to_the_program_that_has_the_least_to_do() {
    let stage = Stage::set(&["--shared-programs", "2"]).await;
    let bridge = &stage.bridge;
    let said = answer();
    let mut first = stage.share().await;
    // Nobody has anything to do: there is no need for another.
    let (told, ()) = tokio::join!(stage.call(call("1", "")), first.answer(&said));
    assert_eq!(told.body, result("1"));
    // The first has a call, and so the second gets the next; both have one, and there is no third.
    let (slow, slow_number) = (stage.call(call("2", "")), async { first.asked().await });
    tokio::pin!(slow);
    let slow_number = tokio::select! {
        answer = &mut slow => panic!("nobody has answered: {answer:?}"),
        number = slow_number => number,
    };
    let (other, mut second, other_number) = stage.ask_another("3").await;
    let (third, ()) = tokio::join!(stage.call(call("4", "")), first.answer(&said));
    assert_eq!(third.body, result("4"));
    // The second is done before the first, and is asked next.
    second.say(&result(&other_number)).await;
    assert_eq!(other.await.body, result("3"));
    let (next, ()) = tokio::join!(stage.call(call("5", "")), second.answer(&said));
    assert_eq!(next.body, result("5"));
    first.say(&result(&slow_number)).await;
    assert_eq!(slow.await.body, result("2"));
    let started = bridge.figure("mcpulse_bridge_shared_started_total").await;
    assert!((started - 2.0).abs() < 0.1, "{started}");
    bridge.assert_settled(&[("ok", 6)], &[]).await;
}

#[tokio::test]
async fn one_that_dies_fails_its_own_calls_and_comes_again_by_itself() {
    let stage = Stage::set(&["--shared-programs", "2"]).await;
    let bridge = &stage.bridge;
    let mut first = stage.share().await;
    let dying = stage.call(call("1", ""));
    tokio::pin!(dying);
    tokio::select! {
        answer = &mut dying => panic!("nobody has answered: {answer:?}"),
        _ = first.asked() => {}
    }
    let (living, mut second, number) = stage.ask_another("2").await;
    drop(first);
    assert_eq!(dying.await.error(), (502, json!(1), -32603));
    // The other goes on, and with it the server can be used.
    let (status, said) = scrape::get(bridge.proxy.metrics_address().await, "/readyz").await;
    assert!(status.is_success(), "{said}");
    let (told, again, its_number) = stage.ask_another("3").await;
    second.say(&result(&number)).await;
    assert_eq!(living.await.body, result("2"));
    let mut again = again;
    again.say(&result(&its_number)).await;
    assert_eq!(told.await.body, result("3"));
    // Without any as well, for another can be started.
    drop((second, again));
    Actor::probed(&stage.programs).await;
    let (status, said) = scrape::get(bridge.proxy.metrics_address().await, "/readyz").await;
    assert!(status.is_success(), "{said}");
    bridge.assert_settled(&[("ok", 3), ("transport", 1)], &[]).await;
}

#[tokio::test]
async fn what_belongs_to_a_program_stays_with_it() {
    let stage = Stage::set(&["--shared-programs", "2"]).await;
    let bridge = &stage.bridge;
    let mut first = stage.share().await;
    // A subscription is open for long and no work: the same program is asked the next.
    let listen = request("9", "subscriptions/listen", "", r#""notifications":{},"#);
    let told = |id: &str| {
        format!(
            r#"{{"method":"notifications/tools/list_changed","params":{{"_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}}}}}"#
        )
    };
    let (subscribed, subscription) =
        tokio::join!(bridge.send(stage.modern("subscriptions/listen", None), listen), async {
            let id = first.asked().await;
            first.say(&told(&id)).await;
            id
        });
    let mut subscribed = Stream::of(subscribed);
    assert_eq!(subscribed.next().await, Some(told("9")));
    // A call that becomes a task, and is withdrawn by nobody.
    let task = r#"{"jsonrpc":"2.0","id":ID,"result":{"resultType":"task","taskId":"t-1","status":"working","ttlMs":60000}}"#;
    let (made, ()) = tokio::join!(stage.call(call("1", "")), first.answer(task));
    assert_eq!(made.body, task.replace("ID", "1"));
    // The first works on something, the second on nothing: yet what is asked about the task
    // goes to the first, and a word that its client has left to where the call is.
    let left = stage.call(call("2", ""));
    let mut left = Box::pin(left);
    let left_number = tokio::select! {
        answer = &mut left => panic!("nobody has answered: {answer:?}"),
        number = first.asked() => number,
    };
    let (other, mut second, other_number) = stage.ask_another("3").await;
    second.say(&result(&other_number)).await;
    assert_eq!(other.await.body, result("3"));
    let get = request("4", "tasks/get", "", r#""taskId":"t-1","#);
    let done = r#"{"jsonrpc":"2.0","id":ID,"result":{"resultType":"complete","taskId":"t-1","status":"cancelled"}}"#;
    let (got, ()) = tokio::join!(
        bridge.exchange(stage.modern("tasks/get", Some("t-1")), get),
        first.answer(done)
    );
    assert_eq!((got.status, got.body), (200, done.replace("ID", "4")));
    drop(left);
    let word: Value = serde_json::from_str(&first.hear().await.expect("a word")).expect("JSON");
    assert_eq!(word["method"], "notifications/cancelled");
    assert_eq!(word["params"]["requestId"].to_string(), left_number);
    first.say(&told(&subscription)).await;
    assert_eq!(subscribed.next().await, Some(told("9")));
}

#[tokio::test]
async fn a_call_that_ends_a_shared_program_says_nothing_of_the_next_client() {
    let directory = TempDir::new().expect("a directory");
    let server = directory.path().join("server");
    let id = r#"id=$(printf %s "$line" | sed 's/.*"id":\("[^"]*"\|[0-9]*\).*/\1/')"#;
    let answer = r#"echo "{\"jsonrpc\":\"2.0\",\"id\":$id,\"result\":{}}""#;
    let ends = format!(
        "case \"$line\" in *poison*) exit 1 ;; *last*) rm {} ; exit 1 ;; esac",
        server.display()
    );
    let script = format!("#!/bin/sh\nwhile read -r line; do {ends}; {id}; {answer}; done\n");
    let install = || {
        // Moved into its place, for one that is being written cannot be started.
        let new = directory.path().join("new");
        fs::write(&new, &script).expect("a file");
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).expect("its mode");
        fs::rename(&new, &server).expect("a file system");
    };
    install();
    let bridge = Bridge::before(&[&server.display().to_string()], &[]).await;
    bridge.wait_until_ready(true).await;
    let metrics = bridge.proxy.metrics_address().await;
    let ask = |name: &str| {
        let request = bridge.request(Method::POST, None);
        let request = request.header("mcp-protocol-version", VERSION);
        let request = request.header("mcp-method", "tools/call").header("mcp-name", name);
        bridge.exchange(request, call("1", "").replace("probe", name))
    };
    for _ in 0..3 {
        let status = eventually("it is started again", PATIENCE, async || {
            let status = ask("poison").await.status;
            assert_eq!(scrape::get(metrics, "/readyz").await.0, 200);
            (status != 503).then_some(status)
        });
        assert_eq!(status.await, 502);
    }
    // One that cannot be started again is another matter, until it can.
    eventually("it ends for good", PATIENCE, async || {
        (ask("last").await.status == 502).then_some(())
    })
    .await;
    bridge.wait_until_ready(false).await;
    install();
    bridge.wait_until_ready(true).await;
}
