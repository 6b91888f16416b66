//! Programs that are started before a session wants one, and how many programs there may be.

use std::{
    fs,
    time::{Duration, Instant},
};

use http::{Method, Response};
use hyper::body::Incoming;
use mcpulse_tests::{Server, Tools, eventually};
use tempfile::TempDir;

use super::{Bridge, ENDED, INITIALIZE, processes, running};
use crate::faults::{PATIENCE, by};

/// Answers `initialize` with its own number, and goes on.
const NAMES_ITSELF: &str = r#"read line; id=$(printf %s "$line" | sed 's/.*"id":\("[^"]*"\|[0-9]*\).*/\1/'); echo "{\"jsonrpc\":\"2.0\",\"id\":$id,\"result\":{\"pid\":$$}}"; cat"#;

impl Bridge {
    /// How many programs run for this use.
    async fn programs(&self, wanted: &str) -> u64 {
        let programs = by(&self.proxy.scrape().await, "mcpulse_bridge_programs", "use");
        programs.get(wanted).copied().unwrap_or_default()
    }

    async fn wait_for_programs(&self, wanted: &str, count: u64) {
        eventually(&format!("{count} programs are {wanted}"), PATIENCE, async || {
            (self.programs(wanted).await == count).then_some(())
        })
        .await;
    }

    /// Asks a program that clients without sessions share.
    async fn ask_shared(&self) -> Response<Incoming> {
        let listing = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
        let modern = self.request(Method::POST, None);
        let modern = modern.header("mcp-protocol-version", "2026-07-28");
        self.send(modern.header("mcp-method", "tools/list"), listing).await
    }

    /// Initializes a session: its id, and the number of its program.
    async fn initialize(&self) -> (String, u64) {
        let answer = self.post(None, INITIALIZE).await;
        let program = answer.json()["result"]["pid"].as_u64().expect("a number");
        (answer.session.expect("a session"), program)
    }
}

#[tokio::test]
async fn a_session_gets_a_program_that_waits_and_another_takes_its_place() {
    let mark = format!("warm-{}", std::process::id());
    let script = format!(": {mark}; {NAMES_ITSELF}");
    let mut bridge = Bridge::before(&["sh", "-c", &script], &["--warm-programs", "2"]).await;
    bridge.wait_until_ready(true).await;
    bridge.wait_for_programs("warm", 2).await;
    bridge.wait_for_programs("probe", 0).await;
    let warm: Vec<_> =
        processes(&mark).into_iter().filter(|it| *it != bridge.proxy.pid()).collect();
    let (session, program) = bridge.initialize().await;
    assert!(warm.iter().any(|it| u64::from(*it) == program), "{program} is one of {warm:?}");
    assert_eq!(bridge.programs("session").await, 1);
    bridge.wait_for_programs("warm", 2).await;

    // One that dies before anybody wants it is nobody's loss.
    let dies = warm.into_iter().find(|it| u64::from(*it) != program).expect("the other");
    let pid = i32::try_from(dies).ok().and_then(rustix::process::Pid::from_raw).expect("a number");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it runs");
    eventually("another waits in its place", PATIENCE, async || {
        let others = processes(&mark);
        (!others.contains(&dies) && others.len() == 4).then_some(())
    })
    .await;
    bridge.wait_for_programs("warm", 2).await;
    let ended = by(&bridge.proxy.scrape().await, "mcpulse_bridge_sessions_ended_total", "reason");
    assert_eq!(ended.get("exited"), None);
    assert_eq!(bridge.delete(&session).await, 204);
    bridge.wait_for_programs("session", 0).await;
    bridge.proxy.signal(rustix::process::Signal::TERM);
    assert!(bridge.proxy.wait(ENDED).await.success());
    assert_eq!(running(&mark), 0);
}

#[tokio::test]
async fn programs_that_end_before_they_are_wanted_are_started_with_pauses() {
    let dies_unless_asked = r#"read -t 1 line || exit 3; id=$(printf %s "$line" | sed 's/.*"id":\("[^"]*"\|[0-9]*\).*/\1/'); echo "{\"jsonrpc\":\"2.0\",\"id\":$id,\"result\":{}}"; cat"#;
    let directory = TempDir::new().expect("a directory");
    let starts = directory.path().join("starts");
    let script = format!("echo >> {}; {dies_unless_asked}", starts.display());
    let flags = ["--warm-programs", "1", "--session-rate", "1000"];
    let bridge = Bridge::before(&["bash", "-c", &script], &flags).await;
    let started = || fs::read_to_string(&starts).unwrap_or_default().lines().count();
    let begun = Instant::now();
    eventually("it was started several times", PATIENCE, async || (started() >= 4).then_some(()))
        .await;
    // The first waited a second, the second as long, and the third was paused for: the fourth
    // start, or one of these, was that of the probe.
    assert!(begun.elapsed() > Duration::from_millis(2500), "{:?}", begun.elapsed());
    eventually("a client gets one all the same", PATIENCE, async || {
        (bridge.post(None, INITIALIZE).await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn programs_of_every_use_are_bounded_together() {
    let mark = format!("bounded-{}", std::process::id());
    let script = format!(": {mark}; {NAMES_ITSELF}");
    let flags = ["--max-programs", "2", "--warm-programs", "1"];
    let bridge = Bridge::before(&["sh", "-c", &script], &flags).await;
    bridge.wait_until_ready(true).await;
    bridge.wait_for_programs("warm", 1).await;
    let (first, _) = bridge.initialize().await;
    bridge.wait_for_programs("warm", 1).await;
    let (second, _) = bridge.initialize().await;
    let refused = bridge.send(bridge.request(Method::POST, None), INITIALIZE).await;
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    let refused = bridge.ask_shared().await;
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    let refused = by(&bridge.proxy.scrape().await, "mcpulse_http_refused_total", "reason");
    assert_eq!(refused.get("programs"), Some(&2));
    bridge.wait_for_programs("probe", 0).await;
    assert_eq!((running(&mark), bridge.programs("session").await), (3, 2));
    // What is given back is used: first for one that waits, which a session gets.
    assert_eq!(bridge.delete(&first).await, 204);
    bridge.wait_for_programs("warm", 1).await;
    bridge.initialize().await;
    assert_eq!(bridge.delete(&second).await, 204);
}

#[tokio::test]
async fn a_program_that_waits_gives_way_to_whoever_asks() {
    let flags = ["--max-programs", "2", "--warm-programs", "2"];
    let bridge = Bridge::before(&["sh", "-c", NAMES_ITSELF], &flags).await;
    bridge.wait_until_ready(true).await;
    bridge.wait_for_programs("warm", 2).await;
    assert_eq!(bridge.ask_shared().await.status(), 200);
    assert_eq!((bridge.programs("shared").await, bridge.programs("warm").await), (1, 1));
    let (session, _) = bridge.initialize().await;
    // The bound is one for those who have programs.
    let refused = bridge.send(bridge.request(Method::POST, None), INITIALIZE).await;
    assert_eq!(refused.status(), 503);
    assert_eq!(bridge.delete(&session).await, 204);
}

#[tokio::test]
async fn a_program_that_ended_before_it_was_wanted_takes_up_no_place() {
    let mark = format!("ended-{}", std::process::id());
    let directory = TempDir::new().expect("a directory");
    let (starts, odd) = (directory.path().join("starts"), directory.path().join("odd"));
    // Every other one dies a while after the one before.
    let lives =
        format!("mkdir {odd} 2>&- && T=0.3 || {{ T=0.8; rmdir {odd}; }}", odd = odd.display());
    let dies = NAMES_ITSELF.replace("read line", "read -t $T line || exit 3");
    let script = format!(": {mark}; {lives}; echo >> {}; {dies}", starts.display());
    let flags = ["--max-programs", "2", "--warm-programs", "2", "--session-rate", "1000"];
    let bridge = Bridge::before(&["bash", "-c", &script], &flags).await;
    let started = || fs::read_to_string(&starts).unwrap_or_default().lines().count();
    // In the pause, before which both have ended, one of them while it lasted.
    eventually("they are paused for", PATIENCE, async || {
        (started() >= 5 && running(&mark) == 1).then_some(())
    })
    .await;
    for _ in 0..2 {
        bridge.initialize().await;
    }
}

#[tokio::test]
async fn a_session_with_a_warm_program_does_not_wait_for_python() {
    let server = Server::Mcp2;
    let Some(tools) = Tools::with(server.part().as_slice()) else { return };
    let directory = TempDir::new().expect("a directory");
    server.prepare(directory.path());
    let command = server.command(tools, directory.path());
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let mut medians = Vec::new();
    for warm in ["0", "1"] {
        let bridge = Bridge::before(&command, &["--warm-programs", warm]).await;
        bridge.wait_until_ready(true).await;
        bridge.wait_for_programs("probe", 0).await;
        let mut took = Vec::new();
        for _ in 0..5 {
            if warm == "1" {
                bridge.wait_for_programs("warm", 1).await;
                wait_until_quiet(bridge.proxy.pid()).await;
            }
            let asked = Instant::now();
            let answer = bridge.post(None, INITIALIZE).await;
            took.push(asked.elapsed());
            assert_eq!(answer.status, 200, "{answer:?}");
            bridge.delete(&answer.session.expect("a session")).await;
            bridge.wait_for_programs("session", 0).await;
        }
        took.sort();
        eprintln!(
            "--warm-programs {warm}: initialize is answered after {:?} (of {took:?})",
            took[2]
        );
        medians.push(took[2]);
    }
    assert!(medians[1] * 3 < medians[0], "{medians:?}");
}

/// Waits until no child of the proxy does anything: what was started is up.
async fn wait_until_quiet(proxy: u32) {
    let mut before = (0, Instant::now());
    eventually("the programs are up", PATIENCE, async || {
        let worked = processes("").into_iter().filter_map(|pid| worked(pid, proxy)).sum::<u64>();
        if worked != before.0 {
            before = (worked, Instant::now());
        }
        (before.1.elapsed() > Duration::from_millis(300)).then_some(())
    })
    .await;
}

/// The ticks of the clock that a child of `parent` has worked for.
fn worked(pid: u32, parent: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<_> = status.rsplit(')').next()?.split_ascii_whitespace().collect();
    let of = |at: usize| fields.get(at)?.parse::<u64>().ok();
    (of(1)? == u64::from(parent)).then_some(of(11)? + of(12)?)
}
