//! What is said: of any size, in any encoding, faster than anybody listens.

use std::{os::fd::AsRawFd as _, path::PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::*;

/// More than enough for everything but a message held in memory.
const MEMORY_KIB: u64 = 64 << 10;

/// A number that the kernel keeps about a process, in the unit in which it does.
fn figure(session: &Session, file: &str, name: &str) -> u64 {
    let path = PathBuf::from(format!("/proc/{}/{file}", session.0.id()));
    let text = std::fs::read_to_string(path).expect("the proxy runs");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let figure = line.and_then(|rest| rest.split_whitespace().next());
    figure.and_then(|figure| figure.parse().ok()).expect("the kernel says so")
}

/// Says it all through `cat` and gives back what came.
fn echoed(said: &[u8]) -> Vec<u8> {
    let mut session = Session::piped(in_front_of(&["cat"]));
    let mut stdin = session.0.stdin.take().expect("standard input is a pipe");
    let mut stdout = session.0.stdout.take().expect("standard output is a pipe");
    thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(said).expect("the proxy reads"));
        let mut heard = Vec::new();
        stdout.read_to_end(&mut heard).expect("the proxy writes");
        heard
    })
}

#[test]
fn a_line_of_100_mib_passes_whole_and_is_not_kept() {
    let mut session = Session::piped(in_front_of(&["cat"]));
    let mut stdin = session.0.stdin.take().expect("standard input is a pipe");
    let mut stdout = session.0.stdout.take().expect("standard output is a pipe");
    let line: Vec<u8> = (0..100_u32 << 20).map(|i| b'a' + (i % 23).to_le_bytes()[0]).collect();
    thread::scope(|scope| {
        scope.spawn(|| {
            stdin.write_all(&line).expect("the proxy reads");
            stdin.write_all(b"\n").expect("the proxy reads");
        });
        let mut heard = vec![0; line.len() + 1];
        stdout.read_exact(&mut heard).expect("the proxy writes");
        assert!(heard[..line.len()] == line && heard.ends_with(b"\n"), "the bytes differ");
    });
    assert_small(&session);
}

#[test]
fn what_is_no_message_passes_as_it_is() {
    for said in [
        &b"\xff\xfe\n\xc3(\n\x00\n\n\r\n"[..],
        b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\"",
        b"\xef\xbb\xbf{\"a\":1e400,\"a\":9007199254740993,\"\\u0061\": 1.0}\r\n",
        b"half a line at the end",
        b"\n",
        b"",
    ] {
        assert_eq!(echoed(said), said);
    }
}

#[test]
fn a_server_may_flood_standard_error() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("stderr");
    let script = "head -c 10000000 /dev/zero >&2; echo said; cat";
    let mut command = in_front_of(&["sh", "-c", script]);
    command.stderr(File::create(&path).expect("the file is created"));
    let mut session = Session::piped(command);
    assert_eq!(session.line(), "said");
    session.say(b"still here\n");
    assert_eq!(session.line(), "still here");
    let stderr = std::fs::read(path).expect("the file is read");
    let zeros: usize = stderr.iter().map(|byte| usize::from(*byte == 0)).sum();
    assert_eq!(zeros, 10_000_000);
}

/// Waits until this thread of the proxy sleeps between two pipes that are full: it waits for
/// nothing but to write, and has to as long as nobody reads.
fn wait_until_held_back(session: &Session, thread: &str, near: &str, far: &str) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !(is_full(far) && is_full(near) && sleeps(session, thread)) {
        assert!(Instant::now() < deadline, "{thread} still moves");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Whether a write to the pipe with this end would block.
fn is_full(end: &str) -> bool {
    let end = File::options().write(true).open(end).expect("a pipe with a reader");
    let mut write = [PollFd::new(&end, PollFlags::OUT)];
    poll(&mut write, Some(&Timespec::default())).expect("a poll") == 0
}

fn sleeps(session: &Session, thread: &str) -> bool {
    let tasks = format!("/proc/{}/task", session.0.id());
    let tasks = std::fs::read_dir(tasks).expect("the proxy runs");
    let stats =
        tasks.map(|task| std::fs::read_to_string(task.expect("a thread").path().join("stat")));
    let named = format!("({thread}) ");
    let stat = stats.flatten().find(|stat| stat.contains(&named)).expect("the thread runs");
    stat.contains(&format!("{named}S"))
}

fn assert_small(session: &Session) {
    let peak = figure(session, "status", "VmHWM");
    assert!(peak < MEMORY_KIB, "{peak} KiB");
}

#[test]
fn a_client_that_does_not_listen_stops_the_server_and_misses_nothing() {
    const SIZE: usize = 200_000_000;
    let mut session =
        Session::piped(in_front_of(&["sh", "-c", "echo $$; yes | head -c 200000000"]));
    let near = format!("/proc/{}/fd/1", session.line());
    let far = session.0.stdout.as_ref().expect("standard output is a pipe").as_raw_fd();
    wait_until_held_back(&session, "to-client", &near, &format!("/proc/self/fd/{far}"));
    let written = figure(&session, "io", "wchar");
    assert!(written < 1_000_000, "{written} bytes went somewhere");
    assert_small(&session);

    let mut stdout = session.0.stdout.take().expect("standard output is a pipe");
    let mut heard = Vec::with_capacity(SIZE);
    stdout.read_to_end(&mut heard).expect("the proxy writes");
    assert_eq!(heard.len(), SIZE);
    assert!(heard.chunks(2).all(|line| line == b"y\n"), "the bytes differ");
}

#[test]
fn a_server_that_does_not_listen_stops_the_client_and_misses_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let go = directory.path().join("go");
    let script = "echo $$; until [ -e \"$0\" ]; do sleep 0.01; done; head -c 50000000 | wc -c; cat";
    let path = go.to_str().expect("a path that is text");
    let mut session = Session::piped(in_front_of(&["sh", "-c", script, path]));
    let far = format!("/proc/{}/fd/0", session.line());
    let mut stdin = session.0.stdin.take().expect("standard input is a pipe");
    let near = format!("/proc/self/fd/{}", stdin.as_raw_fd());
    let saying = thread::spawn(move || {
        stdin.write_all(&vec![b'x'; 50_000_000]).expect("the proxy reads");
        stdin
    });
    wait_until_held_back(&session, "to-server", &near, &far);
    let read = figure(&session, "io", "rchar");
    assert!(read < 1_000_000, "{read} bytes went somewhere");
    assert!(!saying.is_finished());
    File::create(go).expect("the server may go on");
    assert_eq!(session.line().trim(), "50000000");
    assert_small(&session);
    drop(saying.join().expect("no panic"));
}
