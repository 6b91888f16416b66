//! A file that changes while its servers are at work.

use std::{os::unix::fs::symlink, time::Duration};

use http::Method;
use mcpulse_tests::eventually;
use rustix::process::Signal;
use tokio::net::TcpListener;

use super::{INITIALIZE, Scene, list, of_program};
use crate::{
    bridge::{Actor, running},
    faults::{PATIENCE, balanced, by, call, result},
    web::Answer,
};

/// A server whose programs are the test.
struct Place {
    id: &'static str,
    programs: TcpListener,
}

impl Place {
    async fn new(id: &'static str) -> Self {
        Self { id, programs: TcpListener::bind("127.0.0.1:0").await.expect("a port") }
    }

    fn address(&self) -> String {
        self.programs.local_addr().expect("the address of a bound socket").to_string()
    }

    /// Its entry; `more` makes it another.
    fn entry(&self, more: &[&str]) -> String {
        of_program(self.id, "puppet", &[&[&*self.address()], more].concat())
    }

    fn path(&self) -> String {
        format!("/{}/mcp", self.id)
    }

    /// A session that was initialized.
    async fn open(&self, scene: &Scene) -> (String, Actor) {
        let program = async {
            let mut actor = Actor::enter(&self.programs).await;
            assert_eq!(actor.hear().await.as_deref(), Some(INITIALIZE));
            actor.say(r#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"s","version":"1"}}}"#).await;
            actor
        };
        let path = self.path();
        let (answer, actor) = tokio::join!(scene.post(&path, None, INITIALIZE), program);
        assert_eq!(answer.status, 200, "{answer:?}");
        (answer.session.expect("a session"), actor)
    }

    /// Waits until none of its programs runs.
    async fn wait_until_empty(&self) {
        let address = self.address();
        // The proxy itself names it in no argument.
        let none = async || (running(&address) == 0).then_some(());
        eventually(&format!("no program of {} runs", self.id), PATIENCE, none).await;
    }
}

/// Waits for what the proxy says that it did.
async fn applied(scene: &Scene, words: &str) {
    scene.proxy.wait_for_stderr(&format!("the configuration was read again: {words}")).await;
}

/// The processes of the programs that connect to this address.
fn pids(address: &str) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").expect("processes").flatten();
    let of = |entry: std::fs::DirEntry| {
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let is_it = String::from_utf8_lossy(&line).contains(address);
        is_it.then(|| entry.file_name().to_str()?.parse().ok()).flatten()
    };
    let mut pids: Vec<u32> = processes.filter_map(of).collect();
    pids.sort_unstable();
    pids
}

#[tokio::test]
async fn servers_come_change_and_go_while_another_has_a_call_in_flight() {
    let (kept, other) = (Place::new("kept").await, Place::new("other").await);
    let (gone, new) = (Place::new("gone").await, Place::new("new").await);
    let scene = Scene::of(&[kept.entry(&[]), other.entry(&[]), gone.entry(&[])]).await;
    for place in [&kept, &other, &gone] {
        Actor::probed(&place.programs).await;
    }
    let (of_kept, mut kept_program) = kept.open(&scene).await;
    let (of_other, mut other_program) = other.open(&scene).await;
    let (of_gone, mut gone_program) = gone.open(&scene).await;
    let mut stream = scene.listen(&kept.path(), &of_kept).await;
    let pid = pids(&kept.address());
    assert_eq!(pid.len(), 1, "{pid:?}");

    // Three calls are under way.
    let (kept_path, other_path, gone_path) = (kept.path(), other.path(), gone.path());
    let ask = |path: &str, session: &str| {
        let (path, session) = (path.to_owned(), session.to_owned());
        let scene = &scene;
        async move { scene.post(&path, Some(&session), call("7")).await }
    };
    let answers = async {
        tokio::join!(
            ask(&kept_path, &of_kept),
            ask(&other_path, &of_other),
            ask(&gone_path, &of_gone)
        )
    };
    let meanwhile = async {
        for program in [&mut kept_program, &mut other_program, &mut gone_program] {
            assert_eq!(program.hear().await, Some(call("7")));
        }
        let servers = [new.entry(&[]), kept.entry(&[]), other.entry(&["changed"])];
        scene.replace(&scene.text(&list(&servers)));
        applied(&scene, "began new; replaced other; ends gone").await;
        Actor::probed(&new.programs).await;
        Actor::probed(&other.programs).await;
        // New sessions go to whom the file names now.
        let (_, _) = new.open(&scene).await;
        let (of_changed, _changed_program) = other.open(&scene).await;
        assert_ne!(of_changed, of_other);
        assert_eq!(scene.post(&gone_path, None, INITIALIZE).await.status, 404);
        // A session with a call under way is where it was, also of a server that leaves.
        let told = r#"{"jsonrpc":"2.0","method":"notifications/told"}"#;
        for (path, session, program) in [
            (&kept_path, &of_kept, &mut kept_program),
            (&other_path, &of_other, &mut other_program),
            (&gone_path, &of_gone, &mut gone_program),
        ] {
            assert_eq!(scene.post(path, Some(session), told).await.status, 202, "{path}");
            assert_eq!(program.hear().await.as_deref(), Some(told));
            program.say(&result("7")).await;
        }
    };
    let ((of_kept_call, of_other_call, of_gone_call), ()) = tokio::join!(answers, meanwhile);
    for Answer { status, body, .. } in [of_kept_call, of_other_call, of_gone_call] {
        assert_eq!((status, body), (200, result("7")));
    }

    // Who was not named goes on: its stream, its program, its session.
    let news = r#"{"jsonrpc":"2.0","method":"notifications/news"}"#;
    kept_program.say(news).await;
    assert_eq!(stream.next().await.as_deref(), Some(news));
    assert_eq!(pids(&kept.address()), pid);
    let again = async {
        assert_eq!(kept_program.hear().await, Some(call("8")));
        kept_program.say(&result("8")).await;
    };
    let (answer, ()) = tokio::join!(scene.post(&kept_path, Some(&of_kept), call("8")), again);
    assert_eq!(answer.status, 200);

    // The others end with what they had to do.
    assert_eq!(other_program.hear().await, None);
    assert_eq!(gone_program.hear().await, None);
    drop((other_program, gone_program));
    gone.wait_until_empty().await;
    eventually("the session of the changed server is over", PATIENCE, async || {
        let ping = r#"{"jsonrpc":"2.0","id":9,"method":"ping"}"#;
        let ping = scene.post(&other_path, Some(&of_other), ping).await;
        (ping.status == 404).then_some(())
    })
    .await;
    eventually("every call is delivered", PATIENCE, async || {
        let scrape = balanced(&scene.proxy).await;
        let delivered = scrape.sum("mcpulse_reports_total", &[("result", "delivered")]);
        (delivered > 11.5).then_some(())
    })
    .await;
    let scrape = balanced(&scene.proxy).await;
    let calls = by(&scrape, "mcpulse_calls_total", "mcpulse_server_id");
    let wanted = [("gone", 1), ("kept", 2), ("other", 1)];
    assert_eq!(calls, wanted.map(|(id, count)| (id.to_owned(), count)).into_iter().collect());

    // It comes again, and counts on.
    let requests = [("mcpulse_server_id", "gone")];
    let before = scrape.sum("mcpulse_http_requests_total", &requests);
    scene.replace(&scene.text(&list(&[kept.entry(&[]), gone.entry(&[])])));
    applied(&scene, "began gone; ends new, other").await;
    Actor::probed(&gone.programs).await;
    let (_, _) = gone.open(&scene).await;
    assert!(scene.figure("mcpulse_http_requests_total", &requests).await > before + 0.5);
    assert_eq!(pids(&kept.address()), pid);
}

#[tokio::test]
async fn a_symlink_that_leads_elsewhere_is_followed_as_a_mounted_config_map_has_it() {
    let scene = Scene::of(&[of_program("one", "example_server", &[])]).await;
    let data = |name: &str| scene.directory.path().join(name);
    // FILE -> ..data/mcpulse.yaml, ..data -> ..1
    for (folder, id) in [("..1", "one"), ("..2", "two")] {
        std::fs::create_dir(data(folder)).expect("a directory");
        let servers = list(&[of_program(id, "example_server", &[])]);
        std::fs::write(data(folder).join("mcpulse.yaml"), scene.text(&servers)).expect("a file");
    }
    symlink("..1", data("..data")).expect("a link");
    symlink("..data/mcpulse.yaml", data("link")).expect("a link");
    std::fs::rename(data("link"), scene.file()).expect("the file is replaced");
    symlink("..2", data("..new")).expect("a link");
    std::fs::rename(data("..new"), data("..data")).expect("the link is replaced");
    applied(&scene, "began two; ends one").await;
    assert_eq!(scene.post("/two/mcp", None, INITIALIZE).await.status, 200);
    assert_eq!(scene.post("/one/mcp", None, INITIALIZE).await.status, 404);
}

#[tokio::test]
async fn two_reloads_in_quick_succession_leave_the_last() {
    let (first, second, third) =
        (Place::new("x").await, Place::new("x").await, Place::new("x").await);
    let scene = Scene::of(&[first.entry(&[])]).await;
    Actor::probed(&first.programs).await;
    let (of_first, mut program) = first.open(&scene).await;
    let asked = async { scene.post("/x/mcp", Some(&of_first), call("1")).await };
    let meanwhile = async {
        assert_eq!(program.hear().await, Some(call("1")));
        for place in [&second, &third] {
            scene.replace(&scene.text(&list(&[place.entry(&[])])));
            scene.proxy.signal(Signal::HUP);
        }
        let (of_third, _) = {
            Actor::probed(&third.programs).await;
            third.open(&scene).await
        };
        assert_ne!(of_third, of_first);
        program.say(&result("1")).await;
    };
    let (answer, ()) = tokio::join!(asked, meanwhile);
    assert_eq!((answer.status, answer.body), (200, result("1")));
    assert_eq!(program.hear().await, None);
    drop((program, second.programs));
    first.wait_until_empty().await;
}

#[tokio::test]
async fn a_signal_reads_the_file_of_one_server_too_and_names_what_needs_a_restart() {
    let scene = Scene::of(&[of_program("listed", "example_server", &[])]).await;
    scene.proxy.signal(Signal::HUP);
    applied(&scene, "every server stays as it is").await;
    // The only server has the paths of the listener itself.
    let entry = of_program("alone", "example_server", &[]);
    let alone = entry.replace("  - serverId", "serverId").replace("    upstream", "upstream");
    let text = scene.text(&alone).replace("drainTimeout: 20s", "drainTimeout: 10s");
    scene.replace(&format!("{text}workers: 3\n"));
    scene.proxy.signal(Signal::HUP);
    applied(&scene, "began the only server; ends listed").await;
    scene.proxy.wait_for_stderr("listen.drainTimeout, workers needs a restart").await;
    assert_eq!(scene.post("/mcp", None, INITIALIZE).await.status, 200);
    assert_eq!(scene.post("/listed/mcp", None, INITIALIZE).await.status, 404);
    let page = scene.send(scene.request(Method::GET, "/sse", None), "").await;
    assert_eq!(page.status(), 200);
    assert!(scene.figure("mcpulse_config_reloads_total", &[("result", "applied")]).await > 1.5);
    scene.proxy.signal(Signal::TERM);
    let mut scene = scene;
    assert!(scene.proxy.wait(Duration::from_secs(30)).await.success());
}
