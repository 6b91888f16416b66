//! What programs leave behind: processes that left their group, wherever they went.

use std::fs;

use mcpulse_tests::eventually;
use rustix::process::Signal;

use super::{Bridge, ENDED, INITIALIZE, programs::ANSWER, running};
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
