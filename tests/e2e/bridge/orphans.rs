//! What programs leave behind: processes that left their group, wherever they went.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use http::Method;
use http_body_util::Full;
use mcpulse_tests::{Proxy, eventually, scrape};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::{Bridge, ENDED, INITIALIZE, processes, programs::ANSWER, running};
use crate::faults::PATIENCE;

/// The children of this process that have ended and were not reaped.
fn zombies(parent: u32) -> usize {
    let is_one = |entry: fs::DirEntry| {
        let status = fs::read_to_string(entry.path().join("stat")).ok()?;
        let mut fields = status.rsplit(')').next()?.split_ascii_whitespace();
        let (state, of) = (fields.next()?, fields.next()?);
        (state == "Z" && of.parse() == Ok(parent)).then_some(())
    };
    fs::read_dir("/proc").expect("processes").flatten().filter_map(is_one).count()
}

impl Bridge {
    pub(super) async fn wait_for_no_zombie(&self) {
        eventually("every process was reaped", PATIENCE, async || {
            (zombies(self.proxy.pid()) == 0).then_some(())
        })
        .await;
    }
}

/// A number of seconds to sleep that says whose it is.
fn mark(kind: u32) -> String {
    format!("9{kind}876.{}", std::process::id())
}

#[tokio::test]
async fn a_session_takes_with_it_what_left_its_group_and_nobody_elses() {
    let mark = mark(1);
    // One in a session of its own, one whose parents are gone, and one that does not listen.
    let script = format!(
        "{ANSWER} setsid sleep {mark} & (setsid sh -c 'sleep {mark} & exit' &); \
         setsid sh -c \"trap '' TERM; while :; do sleep {mark}; done\" & cat"
    );
    let bridge = Bridge::before(&["sh", "-c", &script], &[]).await;
    bridge.wait_until_ready(true).await;
    // The one that was tried leaves nothing either: the proxy itself has the mark.
    eventually("only the proxy is left", ENDED, async || (running(&mark) == 1).then_some(())).await;
    let mut sessions = Vec::new();
    for opened in 1..=2 {
        let answer = bridge.post(None, INITIALIZE).await;
        sessions.push(answer.session.expect("a session"));
        // The program, three that sleep, and the shell of one of them.
        eventually("its descendants run", PATIENCE, async || {
            (running(&mark) == 1 + 5 * opened).then_some(())
        })
        .await;
    }
    for left in [6, 1] {
        let session = sessions.pop().expect("another");
        assert_eq!(bridge.delete(&session).await, 204);
        eventually("it took its own with it", ENDED, async || {
            (running(&mark) == left).then_some(())
        })
        .await;
        bridge.wait_for_no_zombie().await;
    }
    bridge.assert_settled(&[], &[]).await;
}

#[tokio::test]
async fn what_ends_by_itself_is_reaped_and_no_code_is_taken_from_a_program() {
    let script = format!("{ANSWER} for i in 1 2 3 4 5 6; do (setsid true &); done; read x; exit 7");
    let bridge = Bridge::before(&["sh", "-c", &script], &["--log-level", "debug"]).await;
    bridge.wait_until_ready(true).await;
    let mut sessions = Vec::new();
    for _ in 0..12 {
        sessions.push(bridge.post(None, INITIALIZE).await.session.expect("a session"));
    }
    bridge.wait_for_no_zombie().await;
    for session in &sessions {
        assert_eq!(bridge.delete(session).await, 204);
    }
    eventually("each program ended with its own code", ENDED, async || {
        let said = bridge.proxy.stderr();
        (said.matches("a program has ended").count() == 13).then_some(())
    })
    .await;
    let said = bridge.proxy.stderr();
    let ends: Vec<_> = said.lines().filter(|line| line.contains("a program has ended")).collect();
    assert!(ends.iter().all(|line| line.contains("code=7")), "{ends:#?}");
    bridge.wait_for_no_zombie().await;
}

#[tokio::test]
async fn what_nobody_knows_the_session_of_ends_with_the_proxy() {
    let mark = mark(2);
    // Not the one that is tried, which ends at once: its child would not have left the group yet.
    let leaves = format!("(env -i setsid sleep {mark} &)");
    let script = format!("{ANSWER} case \"$line\" in *mcpulse-proxy*) ;; *) {leaves} ;; esac; cat");
    let mut bridge = Bridge::before(&["sh", "-c", &script], &["--drain-timeout", "1s"]).await;
    bridge.wait_until_ready(true).await;
    let session = bridge.post(None, INITIALIZE).await.session.expect("a session");
    // As the words of its command line are kept: it has left the group before it became this.
    let stray = format!("sleep\0{mark}");
    eventually("it has left", PATIENCE, async || (running(&stray) == 1).then_some(())).await;
    assert_eq!(bridge.delete(&session).await, 204);
    bridge.wait_for_ended("deleted", 1).await;
    // The proxy and the stray.
    eventually("the program has ended", ENDED, async || (running(&mark) == 2).then_some(())).await;
    assert_eq!(running(&stray), 1);
    bridge.proxy.signal(Signal::TERM);
    assert!(bridge.proxy.wait(ENDED).await.success());
    assert_eq!(running(&mark), 0);
}

#[tokio::test]
async fn many_that_end_together_hold_nobody_up() {
    const SESSIONS: usize = 100;
    let mark = mark(3);
    // Three that have left the group and do not listen.
    let leave = format!("setsid sleep {mark} & setsid sleep {mark} & setsid sleep {mark} &");
    let script = format!("{ANSWER} trap '' TERM; {leave} cat");
    let flags = ["--max-sessions", "200", "--session-rate", "1000"];
    let bridge = Bridge::before(&["sh", "-c", &script], &flags).await;
    bridge.wait_until_ready(true).await;
    let mut sessions = Vec::new();
    for _ in 0..SESSIONS {
        sessions.push(bridge.post(None, INITIALIZE).await.session.expect("a session"));
    }
    let sleep = format!("sleep\0{mark}");
    eventually("all of them run", PATIENCE, async || {
        (running(&sleep) == 3 * SESSIONS).then_some(())
    })
    .await;
    let metrics = bridge.proxy.metrics_address().await;
    let mut deleting = JoinSet::new();
    for session in &sessions {
        let request = bridge.request(Method::DELETE, Some(session)).body(Full::default());
        deleting.spawn(bridge.web.client.request(request.expect("a request")));
    }
    let mut longest = Duration::ZERO;
    eventually("they are gone", ENDED, async || {
        let looked = Instant::now();
        while looked.elapsed() < Duration::from_millis(200) {
            let asked = Instant::now();
            assert_eq!(scrape::get(metrics, "/readyz").await.0, 200);
            longest = longest.max(asked.elapsed());
        }
        (running(&mark) == 1).then_some(())
    })
    .await;
    while let Some(deleted) = deleting.join_next().await {
        assert_eq!(deleted.expect("no panic").expect("HTTP").status(), 204);
    }
    eprintln!("/readyz took {longest:?} at most");
    // Seconds, where the workers look for them.
    assert!(longest < Duration::from_millis(700), "{longest:?}");
    bridge.wait_for_no_zombie().await;
}

#[tokio::test]
async fn one_among_many_that_nobody_knows_is_found() {
    const STRAYS: usize = 1100;
    let mark = mark(4);
    let (stray, own) = (format!("sleep\0{mark}\0"), format!("sleep\0{mark}9\0"));
    let _ends = Bystanders(stray.clone());
    let leave = format!("env -i setsid sleep {mark} &");
    let leave = format!("i=0; while [ $i -lt {STRAYS} ]; do {leave} i=$((i+1)); done;");
    let script = format!(
        "{ANSWER} case \"$line\" in *mcpulse-proxy*) ;; *strays*) {leave} ;; *) setsid sleep {mark}9 & \
         esac; cat"
    );
    let mut bridge = Bridge::before(&["sh", "-c", &script], &["--drain-timeout", "1s"]).await;
    bridge.wait_until_ready(true).await;
    let many = INITIALIZE.replace("\"test\"", "\"strays\"");
    for (question, left, count) in [(&*many, &stray, STRAYS), (INITIALIZE, &own, 1)] {
        let session = bridge.post(None, question.to_owned()).await.session.expect("a session");
        // Until it sleeps, it is one of the group, with the environment of that.
        let leaves = format!("setsid\0{left}");
        eventually("they have left", PATIENCE, async || {
            (running(left) == count && running(&leaves) == 0).then_some(())
        })
        .await;
        assert_eq!(bridge.delete(&session).await, 204);
    }
    eventually("it is found", ENDED, async || (running(&own) == 0).then_some(())).await;
    assert_eq!(running(&stray), STRAYS, "what nobody knows is left alone while the proxy runs");
    bridge.proxy.signal(Signal::TERM);
    assert!(bridge.proxy.wait(ENDED).await.success());
    // It has half a second for that: on a machine that has much else to do, not enough for all.
    assert!(running(&stray) < STRAYS, "and set about ending them with itself");
}

/// A program whose leader starts this and ends at SIGTERM without waiting for it.
fn led(script: &str) -> String {
    format!("{ANSWER} sh -c '{script}' & while :; do sleep 0.02; done")
}

#[tokio::test]
async fn a_group_whose_leader_ends_first_has_its_time() {
    let directory = TempDir::new().expect("a directory");
    let words = directory.path().join("words");
    let tell = |word: &str| format!("echo {word} >> {}", words.display());
    // As a wrapper that does not wait for the server: that takes a while to save its work, for
    // which it has half a second.
    let saves = format!("trap \"sleep 0.05; {}; exit\" TERM; ", tell("saved"));
    let script = led(&format!("{saves} {}; while :; do sleep 0.02; done", tell("begun")));
    let bridge = Bridge::before(&["sh", "-c", &script], &[]).await;
    bridge.wait_until_ready(true).await;
    let said = || fs::read_to_string(&words).unwrap_or_default();
    let count = |word: &str| said().matches(word).count();
    let session = bridge.post(None, INITIALIZE).await.session.expect("a session");
    eventually("its server runs", PATIENCE, async || (count("begun") == 2).then_some(())).await;
    assert_eq!(bridge.delete(&session).await, 204);
    // The one that was tried as well; each was asked once.
    eventually("both have saved", ENDED, async || (count("saved") == 2).then_some(())).await;
    bridge.wait_for_no_zombie().await;
    assert_eq!(count("saved"), 2);
}

#[tokio::test]
async fn a_group_whose_leader_ends_first_does_not_outlive_its_time() {
    let mark = mark(5);
    let script = led(&format!("trap \"\" TERM; while :; do sleep {mark}; done"));
    let bridge = Bridge::before(&["sh", "-c", &script], &[]).await;
    bridge.wait_until_ready(true).await;
    let session = bridge.post(None, INITIALIZE).await.session.expect("a session");
    let sleep = format!("sleep\0{mark}");
    eventually("its server runs", PATIENCE, async || (running(&sleep) > 0).then_some(())).await;
    assert_eq!(bridge.delete(&session).await, 204);
    eventually("only the proxy is left", ENDED, async || (running(&mark) == 1).then_some(())).await;
    bridge.wait_for_no_zombie().await;
}

/// Processes with this text in their command line, which the test has to end itself.
struct Bystanders(String);

impl Drop for Bystanders {
    fn drop(&mut self) {
        for process in processes(&self.0) {
            let _ = Command::new("kill").args(["-9", &process.to_string()]).status();
        }
    }
}

#[tokio::test]
async fn what_ran_before_the_proxy_is_not_its_own() {
    let mark = mark(6);
    let sleep = format!("sleep\0{mark}\0");
    let _ends = Bystanders(sleep.clone());
    // One that is a child of the process from before, and one that will be left to it.
    let before = format!("sleep {mark} & sh -c 'sleep {mark} & sleep 0.2' &");
    let flags = ["stdio", "--server-id", "x", "--mcpulse-url", "none", "--listen", "127.0.0.1:0"];
    let plain = Proxy::command(flags.iter().chain(&["--drain-timeout", "1s", "--", "cat"]));
    let plain = plain.as_std();
    let mut command = tokio::process::Command::new("sh");
    command.args(["-c", &format!("{before} exec \"$@\""), "sh"]);
    command.arg(plain.get_program()).args(plain.get_args());
    let mut proxy = Proxy::run(command);
    proxy.address().await;
    let of_it = |pid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent = status.rsplit(')').next().and_then(|it| it.split_ascii_whitespace().nth(1));
        parent.is_some_and(|parent| parent == proxy.pid().to_string())
    };
    let both = eventually("both are its children", PATIENCE, async || {
        let found = processes(&sleep);
        (found.len() == 2 && found.iter().all(|pid| of_it(*pid))).then_some(found)
    })
    .await;
    proxy.signal(Signal::TERM);
    assert!(proxy.wait(ENDED).await.success());
    assert_eq!(processes(&sleep), both);
}
