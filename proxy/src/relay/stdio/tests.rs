//! The relay against real children and real descriptors.

use std::{
    io::{Read as _, Write as _},
    os::fd::OwnedFd,
    time::Instant,
};

use proptest::prelude::*;
use tokio::{
    sync::oneshot,
    task::{JoinHandle, spawn_blocking},
};

use super::*;
use crate::{ready::Ready, tap::Drain};

/// A session whose client is the test.
struct Talk {
    /// What the client says; none once it has closed it.
    to_proxy: Option<File>,
    from_proxy: Option<File>,
    session: JoinHandle<Result<u8, StartError>>,
    stop: Option<oneshot::Sender<()>>,
    shutdown: Shutdown,
    /// Never emptied: forwarding must not care.
    _stuck: Drain,
}

impl Talk {
    fn begin(command: Command) -> Self {
        Self::over(pipe(), command)
    }

    /// The client says what it says by these two ends.
    fn over((input, to_proxy): (File, File), command: Command) -> Self {
        let (from_proxy, output) = pipe();
        let (tap, stuck) = Tap::new(1 << 20);
        let shutdown = Shutdown::default();
        let (stop, stopped) = oneshot::channel();
        let session = tokio::spawn({
            let shutdown = shutdown.clone();
            async move {
                Session {
                    client: Client { input, output },
                    command: &command,
                    environment: std::env::vars_os().collect(),
                    server_id: "test".into(),
                    tap: &tap,
                    gate: Ready::default().gate("upstream"),
                    shutdown: &shutdown,
                }
                .run(async { stopped.await.expect("the test stops it before it drops it") })
                .await
            }
        });
        let (to_proxy, from_proxy) = (Some(to_proxy), Some(from_proxy));
        Self { to_proxy, from_proxy, session, stop: Some(stop), shutdown, _stuck: stuck }
    }

    /// Says all of it and closes.
    fn say(&mut self, bytes: Vec<u8>) {
        let mut to_proxy = self.to_proxy.take().expect("still open");
        spawn_blocking(move || to_proxy.write_all(&bytes).expect("the relay reads all"));
    }

    /// What the server says until it closes.
    async fn hear(&mut self) -> Vec<u8> {
        let mut from_proxy = self.from_proxy.take().expect("still open");
        let mut heard = Vec::new();
        spawn_blocking(move || from_proxy.read_to_end(&mut heard).map(|_| heard))
            .await
            .expect("no panic")
            .expect("readable")
    }

    /// The code of the server, and how long that took.
    async fn code(self) -> (u8, Duration) {
        let begun = Instant::now();
        let code = self.session.await.expect("no panic").expect("started");
        (code, begun.elapsed())
    }
}

fn pipe() -> (File, File) {
    let (reader, writer) = std::io::pipe().expect("descriptors are left");
    (OwnedFd::from(reader).into(), OwnedFd::from(writer).into())
}

fn program(program: &str, args: &[&str]) -> Command {
    Command {
        program: program.to_owned(),
        args: args.iter().map(|&arg| arg.to_owned()).collect(),
        ..Command::default()
    }
}

fn shell(script: &str) -> Command {
    program("sh", &["-c", script])
}

#[tokio::test]
async fn every_byte_arrives_both_ways_with_a_stuck_observer() {
    // Far more than the pipes, the buffers and the tap hold; neither lines nor UTF-8.
    let said: Vec<u8> = (0..8_000_000_u32).map(|i| i.wrapping_mul(i).to_le_bytes()[1]).collect();
    let mut talk = Talk::begin(program("cat", &[]));
    talk.say(said.clone());
    assert!(talk.hear().await == said);
    assert_eq!(talk.code().await.0, 0);
}

proptest! {
    // Each case is a process.
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_bytes_in_any_chunks_arrive_identical(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20_000), 0..20),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let heard = runtime.block_on(async {
            let mut talk = Talk::begin(program("cat", &[]));
            let mut to_proxy = talk.to_proxy.take().expect("still open");
            let said = chunks.clone();
            spawn_blocking(move || {
                for chunk in said {
                    to_proxy.write_all(&chunk).expect("the relay reads all");
                }
            });
            talk.hear().await
        });
        prop_assert!(heard == chunks.concat());
    }
}

#[tokio::test]
async fn the_code_of_the_server_is_passed_on_although_the_client_stays() {
    let talk = Talk::begin(shell("exit 7"));
    let shutdown = talk.shutdown.clone();
    assert_eq!(talk.code().await.0, 7);
    assert!(shutdown.has_begun());
}

#[tokio::test]
async fn a_server_that_a_signal_ended_has_128_and_its_number() {
    assert_eq!(Talk::begin(shell("kill -ILL $$")).code().await.0, 132);
}

#[tokio::test]
async fn a_server_that_ignores_everything_is_killed_in_time() {
    let mut talk = Talk::begin(shell("trap '' TERM; while :; do sleep 9; done"));
    drop(talk.to_proxy.take());
    let (code, took) = talk.code().await;
    assert_eq!(code, 137);
    assert!(took > INPUT_ENDED.terminate && took < Duration::from_millis(1800), "{took:?}");
}

/// More than the pipe of the server and the relay's buffer hold: some stays unread.
const TOO_MUCH: usize = 190_000;

fn socket() -> (File, File) {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("descriptors are left");
    (OwnedFd::from(ours).into(), OwnedFd::from(theirs).into())
}

#[tokio::test]
async fn a_server_that_never_reads_does_not_hide_the_end_of_the_input() {
    for (ends, length) in [(pipe(), 120_000), (pipe(), TOO_MUCH), (socket(), 120_000)] {
        let mut talk = Talk::over(ends, shell("trap '' TERM; while :; do sleep 9; done"));
        let mut to_proxy = talk.to_proxy.take().expect("still open");
        let write = move || to_proxy.write_all(&vec![0; length]).expect("pipes hold as much");
        spawn_blocking(write).await.expect("no panic");
        let (code, took) = talk.code().await;
        assert_eq!(code, 137);
        assert!(took > INPUT_ENDED.terminate && took < Duration::from_millis(1900), "{took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_no_input_does_not_hide_its_end() {
    for length in [10, TOO_MUCH] {
        let mut talk = Talk::begin(shell("exec <&-; echo; sleep 20"));
        let mut line = [0];
        talk.from_proxy.as_mut().expect("open").read_exact(&mut line).expect("it says so");
        talk.say(vec![0; length]);
        let (code, took) = talk.code().await;
        assert_eq!(code, 128 + 15);
        assert!(took < Duration::from_millis(1900), "{took:?}");
    }
}

#[tokio::test]
async fn a_file_ends_when_the_server_has_taken_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("input");
    std::fs::write(&path, vec![0; TOO_MUCH]).expect("it is written");
    let input = File::open(path).expect("it opens");
    // Longer than a client that has left would wait.
    let mut talk = Talk::over((input, pipe().1), shell("sleep 2; wc -c"));
    assert_eq!(String::from_utf8_lossy(&talk.hear().await).trim(), TOO_MUCH.to_string());
    assert_eq!(talk.code().await.0, 0);
}

#[tokio::test]
async fn a_server_that_reads_late_still_gets_what_came_before_the_end() {
    let mut talk = Talk::begin(shell("sleep 0.5; wc -c"));
    talk.say(vec![0; TOO_MUCH]);
    assert_eq!(String::from_utf8_lossy(&talk.hear().await).trim(), TOO_MUCH.to_string());
    assert_eq!(talk.code().await.0, 0);
}

#[tokio::test]
async fn what_a_descendant_says_late_arrives_while_the_client_stays() {
    let mut talk = Talk::begin(shell("(sleep 0.4; echo late) & exit 5"));
    assert_eq!(talk.hear().await, b"late\n");
    assert_eq!(talk.code().await.0, 5);
}

#[tokio::test]
async fn a_descendant_does_not_hold_up_a_client_that_leaves() {
    let mut talk = Talk::begin(shell("sleep 9 & cat; exit 5"));
    drop(talk.to_proxy.take());
    let (code, took) = talk.code().await;
    assert_eq!(code, 5);
    assert!(took < SILENCE, "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_during_the_grace_hastens_the_end() {
    let mut talk = Talk::begin(shell("echo; trap '' TERM; while :; do sleep 9; done"));
    let mut line = [0];
    talk.from_proxy.as_mut().expect("open").read_exact(&mut line).expect("it says so");
    drop(talk.to_proxy.take());
    talk.shutdown.begun().await;
    talk.stop.take().expect("not stopped yet").send(()).expect("it listens");
    let (_, took) = talk.code().await;
    assert!(took < Duration::from_millis(800), "{took:?}");
}

#[tokio::test]
async fn what_was_said_before_the_end_arrives_although_a_descendant_holds_the_pipe() {
    let mut talk = Talk::begin(shell("sleep 2 & seq 100000"));
    let heard = talk.hear().await;
    assert!(heard.ends_with(b"\n100000\n"));
    assert_eq!(talk.code().await.0, 0);
}

#[tokio::test]
async fn own_variables_stay_and_secrets_come() {
    let mut command = shell("echo $MCPULSE_PROXY_SERVER_ID-$KEY-${PATH:+path}");
    command.env.insert("KEY".to_owned(), "secret".into());
    let mut talk = Talk::begin(command);
    assert_eq!(talk.hear().await, b"-secret-path\n");
}

#[tokio::test]
async fn a_server_that_cannot_start_is_named_with_a_remedy() {
    let error = Talk::begin(program("no-such-server", &[])).session.await.unwrap().unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("cannot start the server `no-such-server`: No such file"), "{text}");
    assert!(text.contains("PATH"), "{text}");
    let error = Talk::begin(program("cat -u", &[])).session.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("no shell"), "{error}");
    for (name, shown) in [
        ("API_KEY=hunter2", "`API_KEY=***`"),
        ("https://a.example/mcp?token=hunter2", "`https://a.example/mcp?***`"),
    ] {
        let error = Talk::begin(program(name, &[])).session.await.unwrap().unwrap_err();
        let text = error.to_string();
        assert!(text.contains(shown) && !format!("{error:?}").contains("hunter2"), "{text}");
        assert_eq!(text.contains("env NAME=VALUE"), name.starts_with("API_KEY"), "{text}");
    }
}
