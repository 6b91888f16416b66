//! Programs that a shim starts in place of the proxy, as in a pod: sessions that outlive the
//! proxy, a shim that is away, and the end of a pod.

use std::{
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
};

use http::{Method, header::RETRY_AFTER};
use mcpulse_tests::{eventually, program};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::{Actor, Bridge, ENDED, INITIALIZE, STRANGER, modern, running};
use crate::faults::{PATIENCE, by, call, result};

/// The container of the server: a shim whose programs are the test.
struct Container {
    directory: TempDir,
    programs: TcpListener,
    /// None while the container is not up.
    shim: Option<Child>,
}

impl Container {
    /// One that is not up.
    async fn down() -> Self {
        let programs = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        Self { directory: TempDir::new().expect("a directory"), programs, shim: None }
    }

    /// One that is up, and a sidecar that has found it.
    async fn with_sidecar(flags: &[&str]) -> (Self, Bridge) {
        let mut container = Self::down().await;
        container.start();
        let sidecar = container.sidecar(flags).await;
        sidecar.wait_until_ready(true).await;
        (container, sidecar)
    }

    fn start(&mut self) {
        let (puppet, mark) = (program("puppet").display().to_string(), self.mark());
        self.start_with(&[], &[&puppet, &mark]);
    }

    fn start_with(&mut self, options: &[&str], command: &[&str]) {
        let mut shim = Command::new(program("mcpulse-shim"));
        shim.arg("--listen").arg(self.socket()).args(options).arg("--").args(command);
        self.shim = Some(shim.stdin(Stdio::null()).spawn().expect("the shim starts"));
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("mcp.sock")
    }

    /// A proxy beside it.
    async fn sidecar(&self, flags: &[&str]) -> Bridge {
        let socket = self.socket().display().to_string();
        Bridge::of("stdio", &[&["--shim-socket", &socket], flags].concat()).await
    }

    async fn open(&self, sidecar: &Bridge) -> (String, Actor) {
        sidecar.open_as(&self.programs, "2025-11-25").await
    }

    /// What its programs are known by, and the shim as well.
    fn mark(&self) -> String {
        self.programs.local_addr().expect("the address of a bound socket").to_string()
    }

    /// Waits until so many programs run.
    async fn wait_for_programs(&self, count: usize) {
        let what = format!("{count} programs run");
        eventually(&what, ENDED, async || (running(&self.mark()) == 1 + count).then_some(())).await;
    }

    fn signal(&self, signal: Signal) {
        let pid = self.shim.as_ref().and_then(|shim| i32::try_from(shim.id()).ok());
        kill_process(pid.and_then(Pid::from_raw).expect("a shim"), signal).expect("it runs");
    }

    async fn ended(&mut self) -> ExitStatus {
        let shim = self.shim.as_mut().expect("a shim");
        eventually("the shim ends", ENDED, async || shim.try_wait().expect("a child")).await
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if let Some(shim) = &mut self.shim {
            let _ = (shim.kill(), shim.wait());
        }
    }
}

/// A call that the program answers.
async fn called(sidecar: &Bridge, session: &str, program: &mut Actor, id: &str) {
    let (answer, ()) = tokio::join!(sidecar.post(Some(session), call(id)), async {
        assert_eq!(program.hear().await, Some(call(id)));
        program.say(&result(id)).await;
    });
    assert_eq!((answer.status, answer.body), (200, result(id)));
}

#[tokio::test]
async fn each_session_has_a_program_of_the_shim() {
    let (container, sidecar) = Container::with_sidecar(&[]).await;
    container.wait_for_programs(0).await;
    let (first, mut one) = container.open(&sidecar).await;
    let (second, mut other) = container.open(&sidecar).await;
    container.wait_for_programs(2).await;
    called(&sidecar, &first, &mut one, "1").await;
    called(&sidecar, &second, &mut other, "1").await;
    // Many times what may be under way at once.
    let long = "x".repeat(3 << 20);
    let asked = call("2").replace("{}", &format!(r#"{{"text":"{long}"}}"#));
    let said = result("2").replace("[]", &format!(r#"[{{"type":"text","text":"{long}"}}]"#));
    let (answer, ()) = tokio::join!(sidecar.post(Some(&first), asked.clone()), async {
        assert!(one.hear().await == Some(asked.clone()), "every byte of it");
        one.say(&said).await;
    });
    assert_eq!(answer.status, 200);
    assert!(answer.body == said, "every byte of it");
    assert_eq!(sidecar.delete(&first).await, 204);
    assert_eq!(one.hear().await, None);
    drop(one);
    container.wait_for_programs(1).await;
    // One that ends by itself takes its session with it.
    let (answer, ()) = tokio::join!(sidecar.post(Some(&second), call("3")), async {
        other.hear().await.expect("the call");
        drop(other);
    });
    assert_eq!(answer.error(), (502, json!(3), -32603));
    assert_eq!(sidecar.post(Some(&second), call("4")).await.status, 404);
    container.wait_for_programs(0).await;
    sidecar.assert_settled(&[("ok", 3), ("transport", 2)], &[("oversized", 2)]).await;
}

#[tokio::test]
async fn sessions_outlive_a_sidecar_that_is_killed() {
    let (container, mut sidecar) = Container::with_sidecar(&[]).await;
    let (idle, mut one) = container.open(&sidecar).await;
    let (busy, mut other) = container.open(&sidecar).await;
    called(&sidecar, &busy, &mut other, "1").await;
    let asked = sidecar.request(Method::POST, Some(&busy)).body(call("2").into());
    let asked = sidecar.web.client.request(asked.expect("a request"));
    let (lost, ()) = tokio::join!(asked, async {
        assert_eq!(other.hear().await, Some(call("2")));
        sidecar.proxy.signal(Signal::KILL);
    });
    assert!(lost.is_err(), "{lost:?}");
    sidecar.proxy.wait(ENDED).await;
    container.wait_for_programs(2).await;

    let sidecar = container.sidecar(&[]).await;
    called(&sidecar, &idle, &mut one, "1").await;
    // Nobody waits for it any more, and it is nobody else's.
    other.say(&result("2")).await;
    called(&sidecar, &busy, &mut other, "3").await;
    assert_eq!(sidecar.figure("mcpulse_bridge_dropped_total").await.to_string(), "1");
    assert_eq!(sidecar.figure("mcpulse_bridge_sessions").await.to_string(), "2");
    assert_eq!(sidecar.post(Some(STRANGER), call("4")).await.status, 404);
    assert_eq!(sidecar.delete(&idle).await, 204);
    assert_eq!(one.hear().await, None);
    sidecar.assert_settled(&[("ok", 2), ("transport", 1)], &[]).await;
}

#[tokio::test]
async fn a_sidecar_that_ends_finishes_calls_and_leaves_its_sessions() {
    let (container, mut sidecar) = Container::with_sidecar(&["--drain-timeout", "30s"]).await;
    let (session, mut program) = container.open(&sidecar).await;
    let mut own = sidecar.listen(&session).await;
    let (answer, ()) = tokio::join!(sidecar.post(Some(&session), call("1")), async {
        program.hear().await.expect("the call");
        sidecar.proxy.signal(Signal::TERM);
        assert_eq!(own.next().await, None, "a stream on which nothing is awaited ends");
        program.say(&result("1")).await;
    });
    assert_eq!((answer.status, answer.body), (200, result("1")));
    assert!(sidecar.proxy.wait(ENDED).await.success());
    container.wait_for_programs(1).await;
    let sidecar = container.sidecar(&[]).await;
    called(&sidecar, &session, &mut program, "2").await;
    let mut own = sidecar.listen(&session).await;
    program.say(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#).await;
    assert!(own.next().await.expect("a message").contains("list_changed"));
}

#[tokio::test]
async fn what_nobody_can_ask_for_ends_with_its_sidecar() {
    for signal in [Signal::TERM, Signal::KILL] {
        let (container, mut sidecar) = Container::with_sidecar(&["--warm-programs", "1"]).await;
        let mut warm = Actor::enter(&container.programs).await;
        // The session gets the one that waits, for which another is started, or a new one.
        let (answer, mut program) = tokio::join!(sidecar.post(None, INITIALIZE), async {
            let mut other = Actor::enter(&container.programs).await;
            let line = tokio::select! {
                line = warm.hear() => {
                    std::mem::swap(&mut warm, &mut other);
                    line
                }
                line = other.hear() => line,
            };
            assert_eq!(line.as_deref(), Some(INITIALIZE));
            other.say(r#"{"jsonrpc":"2.0","id":0,"result":{}}"#).await;
            other
        });
        let session = answer.session.expect("a session");
        sidecar.proxy.signal(signal);
        sidecar.proxy.wait(ENDED).await;
        let sidecar = container.sidecar(&[]).await;
        assert_eq!(warm.hear().await, None);
        called(&sidecar, &session, &mut program, "1").await;
    }
}

#[tokio::test]
async fn the_end_of_the_pod_begins_at_the_shim() {
    let (mut container, mut sidecar) = Container::with_sidecar(&[]).await;
    let (_idle, mut unused) = container.open(&sidecar).await;
    let (session, mut program) = container.open(&sidecar).await;
    let (answer, ()) = tokio::join!(sidecar.post(Some(&session), call("1")), async {
        program.hear().await.expect("the call");
        container.signal(Signal::TERM);
        assert_eq!(unused.hear().await, None, "nobody waits for it");
        drop(unused);
        assert!(sidecar.proxy.wait_until_ready(false).await.contains("the pod ends"));
        let begins = sidecar.request(Method::POST, None);
        let refused = sidecar.send(begins, INITIALIZE).await;
        assert_eq!(refused.status(), 503);
        assert!(refused.headers().contains_key(RETRY_AFTER));
        program.say(&result("1")).await;
    });
    assert_eq!((answer.status, answer.body), (200, result("1")));
    assert_eq!(program.hear().await, None);
    drop(program);
    assert!(container.ended().await.success());
    let scrape = sidecar.proxy.scrape().await;
    let ended = by(&scrape, "mcpulse_bridge_sessions_ended_total", "reason");
    assert_eq!(ended.get("shutdown"), Some(&2), "{ended:?}");
    assert_eq!(by(&scrape, "mcpulse_http_refused_total", "reason").get("draining"), Some(&1));
    sidecar.assert_settled(&[("ok", 1)], &[]).await;
    sidecar.proxy.signal(Signal::TERM);
    assert!(sidecar.proxy.wait(ENDED).await.success());
}

#[tokio::test]
async fn a_shim_that_is_away_is_waited_for() {
    let mut container = Container::down().await;
    let sidecar = container.sidecar(&[]).await;
    let why = sidecar.proxy.wait_until_ready(false).await;
    assert!(why.contains("is the server's container up?"), "{why}");
    for session in [None, Some(STRANGER)] {
        let request = sidecar.request(Method::POST, session);
        let answer = sidecar.send(request, INITIALIZE).await;
        assert_eq!(answer.status(), 503, "it may have the session");
        assert!(answer.headers().contains_key(RETRY_AFTER));
    }
    container.start();
    sidecar.wait_until_ready(true).await;
    let (session, mut program) = container.open(&sidecar).await;
    let (answer, ()) = tokio::join!(sidecar.post(Some(&session), call("1")), async {
        program.hear().await.expect("the call");
        container.signal(Signal::KILL);
    });
    assert_eq!(answer.error(), (502, json!(1), -32603));
    container.ended().await;
    assert_eq!(sidecar.post(Some(&session), call("2")).await.status, 404);
    sidecar.wait_until_ready(false).await;
    container.start();
    sidecar.wait_until_ready(true).await;
    container.open(&sidecar).await;
}

#[tokio::test]
async fn what_the_shim_does_not_start_is_told_and_closes_no_gate() {
    let mut container = Container::down().await;
    container.start_with(&[], &["/no/such/program"]);
    let sidecar = container.sidecar(&[]).await;
    sidecar.wait_until_ready(true).await;
    let answer = sidecar.post(None, INITIALIZE).await;
    assert_eq!(answer.error(), (502, json!(0), -32603));
    sidecar.proxy.wait_for_stderr("cannot start /no/such/program").await;
    sidecar.wait_until_ready(true).await;
}

#[tokio::test]
async fn the_shim_has_bounds_of_its_own() {
    let mut container = Container::down().await;
    let (puppet, mark) = (program("puppet").display().to_string(), container.mark());
    container.start_with(&["--max-sessions", "1"], &[&puppet, &mark]);
    let sidecar = container.sidecar(&[]).await;
    sidecar.wait_until_ready(true).await;
    let (session, mut first) = container.open(&sidecar).await;
    let refused = sidecar.send(sidecar.request(Method::POST, None), INITIALIZE).await;
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key(RETRY_AFTER));
    sidecar.wait_until_ready(true).await;
    assert_eq!(sidecar.delete(&session).await, 204);
    assert_eq!(first.hear().await, None);
    drop(first);
    eventually("there is room", PATIENCE, async || {
        (sidecar.figure("mcpulse_bridge_programs").await < 0.5).then_some(())
    })
    .await;
    container.open(&sidecar).await;
}

#[tokio::test]
async fn clients_without_sessions_share_a_program_of_the_shim() {
    let (container, mut sidecar) = Container::with_sidecar(&[]).await;
    let ask = async |sidecar: &Bridge, id: &str| {
        let request = sidecar.request(Method::POST, None);
        let request = request.header("mcp-protocol-version", modern::VERSION);
        let listing = modern::request(id, "tools/list", "", "");
        sidecar.exchange(request.header("mcp-method", "tools/list"), listing).await
    };
    let answering = async |program: &mut Actor| {
        let line = program.hear().await.expect("the request");
        let number = modern::number(&line);
        let tools = format!(r#"{{"jsonrpc":"2.0","id":{number},"result":{{"tools":[]}}}}"#);
        program.say(&tools).await;
    };
    let entering = async {
        let mut program = Actor::enter(&container.programs).await;
        answering(&mut program).await;
        program
    };
    let (answer, mut program) = tokio::join!(ask(&sidecar, "7"), entering);
    assert_eq!((answer.status, &answer.json()["id"]), (200, &json!(7)));
    let (answer, ()) = tokio::join!(ask(&sidecar, "8"), answering(&mut program));
    assert_eq!((answer.status, &answer.json()["id"]), (200, &json!(8)));
    // The next sidecar cannot know whose it was.
    sidecar.proxy.signal(Signal::KILL);
    sidecar.proxy.wait(ENDED).await;
    let sidecar = container.sidecar(&[]).await;
    assert_eq!(program.hear().await, None);
    drop(program);
    let entering = async {
        let mut program = Actor::enter(&container.programs).await;
        answering(&mut program).await;
        program
    };
    let (answer, _program) = tokio::join!(ask(&sidecar, "9"), entering);
    assert_eq!((answer.status, &answer.json()["id"]), (200, &json!(9)));
}
