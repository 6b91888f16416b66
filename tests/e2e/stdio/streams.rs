//! Standard input and output of every kind.

use rustix::{
    fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl, open},
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{OptionalActions, tcgetattr, tcsetattr},
};

use super::*;

/// Neither text nor lines, and more than any stream holds at once.
fn payload() -> Vec<u8> {
    (0..400_000_u32).map(|i| i.wrapping_mul(i).to_le_bytes()[1]).collect()
}

/// Our end and the proxy's.
type Ends = (File, OwnedFd);

fn to_proxy_by_pipe() -> Ends {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    (OwnedFd::from(writer).into(), reader.into())
}

fn from_proxy_by_pipe() -> Ends {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    (OwnedFd::from(reader).into(), writer.into())
}

/// What Node gives its children.
fn socket() -> Ends {
    let (ours, proxys) =
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .expect("a pair of sockets");
    (ours.into(), proxys)
}

/// A socket that somebody else has made non-blocking.
fn non_blocking_socket() -> Ends {
    let (ours, proxys) = socket();
    let flags = fcntl_getfl(&proxys).expect("its flags");
    fcntl_setfl(&proxys, flags | OFlags::NONBLOCK).expect("its flags change");
    (ours, proxys)
}

fn terminal() -> Ends {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
        .expect("a pseudo terminal");
    grantpt(&ours).expect("its other end is ours");
    unlockpt(&ours).expect("its other end is free");
    let name = ptsname(&ours, Vec::new()).expect("its name");
    let proxys = open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())
        .expect("its other end opens");
    let mut raw = tcgetattr(&proxys).expect("its settings");
    // A terminal that a person types at changes bytes by itself.
    raw.make_raw();
    tcsetattr(&proxys, OptionalActions::Now, &raw).expect("its settings change");
    (ours.into(), proxys)
}

/// All that comes until the proxy closes, which a terminal reports as an error.
fn all_of(mut from_proxy: File) -> Vec<u8> {
    let mut all = Vec::new();
    match from_proxy.read_to_end(&mut all) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.raw_os_error(), Some(5), "{error}"),
    }
    all
}

/// A live exchange, which nothing may hold back, then a flood, both over these streams.
fn exchange(input: fn() -> Ends, output: fn() -> Ends) {
    let ((mut to_proxy, stdin), (mut from_proxy, stdout)) = (input(), output());
    let mut command = in_front_of(&["cat"]);
    command.stdin(stdin).stdout(stdout);
    let mut session = Session::start(command);
    for message in ["first", "second"] {
        to_proxy.write_all(message.as_bytes()).expect("the proxy reads");
        let mut echo = vec![0; message.len()];
        from_proxy.read_exact(&mut echo).expect("it comes back at once");
        assert_eq!(echo, message.as_bytes());
    }
    let reading = thread::spawn(move || {
        let mut echo = vec![0; payload().len()];
        from_proxy.read_exact(&mut echo).expect("it comes back whole");
        (echo, from_proxy)
    });
    to_proxy.write_all(&payload()).expect("the proxy reads");
    let (echo, from_proxy) = reading.join().expect("no panic");
    assert!(echo == payload(), "the bytes differ");
    drop(to_proxy);
    assert_eq!(session.end(Instant::now()).0.code(), Some(0));
    assert_eq!(all_of(from_proxy), b"");
}

#[test]
fn pipes() {
    exchange(to_proxy_by_pipe, from_proxy_by_pipe);
}

#[test]
fn sockets() {
    exchange(socket, from_proxy_by_pipe);
    exchange(to_proxy_by_pipe, socket);
}

#[test]
fn sockets_that_do_not_block() {
    exchange(non_blocking_socket, from_proxy_by_pipe);
    exchange(to_proxy_by_pipe, non_blocking_socket);
}

#[test]
fn terminals() {
    exchange(terminal, from_proxy_by_pipe);
    exchange(to_proxy_by_pipe, terminal);
}

#[test]
fn one_socket_for_both_directions() {
    let (ours, proxys) = socket();
    let mut command = in_front_of(&["cat"]);
    command.stdin(proxys.try_clone().expect("a descriptor is left")).stdout(proxys);
    let mut session = Session::start(command);
    let mut to_proxy = ours.try_clone().expect("a descriptor is left");
    let reading = thread::spawn(move || all_of(ours));
    to_proxy.write_all(&payload()).expect("the proxy reads");
    rustix::net::shutdown(&to_proxy, rustix::net::Shutdown::Write).expect("half of it closes");
    assert!(reading.join().expect("no panic") == payload(), "the bytes differ");
    assert_eq!(session.end(Instant::now()).0.code(), Some(0));
}

#[test]
fn files() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name| directory.path().join(name);
    std::fs::write(path("input"), payload()).expect("the input is written");
    let mut command = in_front_of(&["cat"]);
    command.stdin(File::open(path("input")).expect("the input opens"));
    command.stdout(File::create(path("output")).expect("the output opens"));
    let mut session = Session::start(command);
    assert_eq!(session.end(Instant::now()).0.code(), Some(0));
    assert!(std::fs::read(path("output")).expect("the output") == payload(), "the bytes differ");
}

#[test]
fn no_streams_at_all() {
    let mut command = in_front_of(&["cat"]);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    assert_eq!(Session::start(command).end(Instant::now()).0.code(), Some(0));
}
