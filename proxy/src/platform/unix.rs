//! Unix: file descriptors, signals, and children: those that stay in the process group of the
//! proxy, so that a client that ends the group ends them too, and those that lead one.

use std::{
    fs::{self, File, Metadata},
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _},
            process::{CommandExt as _, ExitStatusExt as _},
        },
    },
    path::Path,
    process::{Child, Command, ExitStatus},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::OFlags,
    io::{Errno, fcntl_dupfd_cloexec, ioctl_fionbio},
    process::{
        Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, getrlimit, kill_process,
        kill_process_group, setrlimit, waitid,
    },
    stdio::{dup2_stdin, dup2_stdout, stdin, stdout},
};
use tokio::{
    net::UnixStream,
    signal::unix::{self, SignalKind, signal},
};

/// The most files that macOS lets a process have open, whatever else it says.
const OPEN_MAX: u64 = 10_240;

/// Takes standard input and output out of the process: `/dev/null` stands in their place.
/// Nothing can slip into the protocol by accident, and dropping a file closes that direction.
pub fn take_stdio() -> io::Result<(File, File)> {
    let (input, output) = (fcntl_dupfd_cloexec(stdin(), 3)?, fcntl_dupfd_cloexec(stdout(), 3)?);
    let null = File::options().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    Ok((input.into(), output.into()))
}

/// A pipe: where to read, and where to write.
pub fn pipe() -> io::Result<(File, File)> {
    let (read, write) = io::pipe()?;
    Ok((OwnedFd::from(read).into(), OwnedFd::from(write).into()))
}

/// A connection with another process of this machine, or of the pod.
pub type LocalStream = UnixStream;

/// Connects to the process that listens at this socket.
pub async fn connect(socket: &Path) -> io::Result<LocalStream> {
    UnixStream::connect(socket).await
}

/// Waiting for a descriptor that is non-blocking.
pub trait Wait {
    /// Blocks until a read would not.
    fn readable(&self) -> io::Result<()>;
    /// Blocks until a write would not.
    fn writable(&self) -> io::Result<()>;
}

impl<T: AsFd> Wait for T {
    fn readable(&self) -> io::Result<()> {
        wait(self, PollFlags::IN)
    }

    fn writable(&self) -> io::Result<()> {
        wait(self, PollFlags::OUT)
    }
}

/// How somebody who closed only the sending half of a socket shows. A pipe that its writer has
/// closed shows by itself.
#[cfg(any(target_os = "android", target_os = "linux"))]
const HALF_CLOSED: PollFlags = super::linux::HALF_CLOSED;
/// It does not show before it is read.
#[cfg(not(any(target_os = "android", target_os = "linux")))]
const HALF_CLOSED: PollFlags = PollFlags::empty();

/// Has a write to a full pipe return at once. The other end of the pipe notices nothing.
pub fn never_block(pipe: &impl AsFd) -> io::Result<()> {
    Ok(ioctl_fionbio(pipe, true)?)
}

/// Blocks until a write to `to` would not, or until the peer of `from` has closed its end,
/// even though bytes of it may still be unread: then true.
pub fn writable_or_closed(to: &impl AsFd, from: &impl AsFd) -> io::Result<bool> {
    let mut both = [PollFd::new(to, PollFlags::OUT), PollFd::new(from, HALF_CLOSED)];
    match poll(&mut both, None) {
        // A failure as well: nothing but the end of its peer is asked for.
        Ok(_) => Ok(!both[1].revents().is_empty()),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn wait(fd: &impl AsFd, events: PollFlags) -> io::Result<()> {
    match poll(&mut [PollFd::new(fd, events)], None) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// SIGTERM and SIGINT: the process is asked to end.
#[derive(Debug)]
pub struct Stop {
    terminate: unix::Signal,
    interrupt: unix::Signal,
}

impl Stop {
    /// Catches them from now on.
    pub fn catch() -> io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Completes when one of them has come.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// SIGHUP: the terminal is gone, or an operator wants what is configured to be read again.
#[derive(Debug)]
pub struct Hangup(Option<unix::Signal>);

impl Hangup {
    /// Catches it from now on, unless whoever started the process had it ignored (`nohup`).
    pub fn catch() -> io::Result<Self> {
        let caught = (!hangup_is_ignored()).then(|| signal(SignalKind::hangup()));
        Ok(Self(caught.transpose()?))
    }

    /// Completes when it has come.
    pub async fn next(&mut self) {
        match &mut self.0 {
            Some(caught) => drop(caught.recv().await),
            None => std::future::pending().await,
        }
    }
}

#[cfg(any(target_os = "android", target_os = "linux"))]
use super::linux::hangup_is_ignored;
/// It cannot be asked without unsafe code.
#[cfg(not(any(target_os = "android", target_os = "linux")))]
fn hangup_is_ignored() -> bool {
    false
}

/// How many files the process might have open before [`raise_file_limit`].
static FILES: OnceLock<Rlimit> = OnceLock::new();

/// Lets the process have as many files open as the system allows it: every client of a
/// listener, every connection upstream and every pipe of a child is one. On Linux children get
/// the limit that was there before: some that have more go through all of them, or cannot use
/// those above 1,024.
pub fn raise_file_limit() -> io::Result<()> {
    let limit = *FILES.get_or_init(|| getrlimit(Resource::Nofile));
    let raise = |current| setrlimit(Resource::Nofile, Rlimit { current, ..limit });
    match raise(limit.maximum) {
        // macOS says "unlimited" and takes no more than this.
        Err(_) if limit.current.is_some_and(|now| now < OPEN_MAX) => Ok(raise(Some(OPEN_MAX))?),
        raised => Ok(raised?),
    }
}

/// What makes a file the same file, whatever its name.
pub fn identity(file: &Metadata) -> Option<(u64, u64)> {
    Some((file.dev(), file.ino()))
}

/// Opens a file to append to, and makes it where there is none. None for a named pipe that
/// nobody reads, for which opening would otherwise wait.
pub fn append_to(path: &Path) -> io::Result<Option<File>> {
    let mut options = File::options();
    options.append(true).create(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    match options.open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) => {
            let unread = error.raw_os_error() == Some(Errno::NXIO.raw_os_error())
                && fs::metadata(path).is_ok_and(|there| there.file_type().is_fifo());
            if unread { Ok(None) } else { Err(error) }
        }
    }
}

/// Starts a child in the process group of the proxy. On Linux the child is told to end when
/// the calling thread ends, which must therefore outlive it; elsewhere a child whose parent
/// was killed only notices that its standard input ends.
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    #[cfg(any(target_os = "android", target_os = "linux"))]
    super::linux::prepare(command, FILES.get().copied());
    command.spawn()
}

/// As [`spawn`], but the child leads a process group of its own.
pub fn spawn_apart(command: &mut Command) -> io::Result<Child> {
    spawn(command.process_group(0))
}

/// A running child, shared between the thread that waits for it and those that end it.
#[derive(Clone, Debug)]
pub struct Process {
    pid: Option<Pid>,
    leads: bool,
    life: Arc<Mutex<Life>>,
}

#[derive(Debug)]
struct Life {
    child: Child,
    /// Reaped: its number may be a stranger's.
    over: bool,
}

impl Process {
    /// The child must not have been waited for.
    pub fn new(child: Child) -> Self {
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        Self { pid, leads: false, life: Arc::new(Mutex::new(Life { child, over: false })) }
    }

    /// A child of [`spawn_apart`]: what is done to it is done to its group, which ends with it.
    pub fn leading(child: Child) -> Self {
        Self { leads: true, ..Self::new(child) }
    }

    /// The group that the child leads, if it does.
    pub fn group(&self) -> Option<u32> {
        let leader = self.pid.filter(|_| self.leads)?;
        Some(leader.as_raw_nonzero().get().cast_unsigned())
    }

    /// Blocks until the child has ended. It stays a zombie until it is reaped, which keeps its
    /// number, and that of its group, from strangers.
    pub fn wait(&self) {
        while let Some(pid) = self.pid
            && let Err(Errno::INTR) =
                waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
        {}
    }

    /// Takes the status of a child that has ended; before, what is left of its group is killed.
    pub fn reap(&self) -> io::Result<ExitStatus> {
        let mut life = self.life.lock().unwrap_or_else(PoisonError::into_inner);
        if self.leads
            && !life.over
            && let Some(pid) = self.pid
        {
            // Fails when the leader was the last of the group.
            let _ = kill_process_group(pid, Signal::KILL);
        }
        life.over = true;
        life.child.wait()
    }

    /// Asks the child to end (SIGTERM). Nothing happens when it has been reaped already.
    pub fn terminate(&self) -> io::Result<()> {
        self.signal(Signal::TERM)
    }

    /// Ends the child (SIGKILL). Nothing happens when it has been reaped already.
    pub fn kill(&self) -> io::Result<()> {
        self.signal(Signal::KILL)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        let life = self.life.lock().unwrap_or_else(PoisonError::into_inner);
        match self.pid {
            Some(pid) if !life.over && self.leads => Ok(kill_process_group(pid, signal)?),
            Some(pid) if !life.over => {
                // Looked for first: those whose parent ends are nobody's.
                let kin = kin(pid);
                let signalled = kill_process(pid, signal);
                for descendant in kin {
                    // It may have ended meanwhile.
                    let _ = kill_process(descendant, signal);
                }
                Ok(signalled?)
            }
            _ => Ok(()),
        }
    }
}

#[cfg(any(target_os = "android", target_os = "linux"))]
use super::linux::kin;

/// Nobody tells who descends from a child.
#[cfg(not(any(target_os = "android", target_os = "linux")))]
fn kin(_child: Pid) -> Vec<Pid> {
    Vec::new()
}

/// The code with which to pass on how a child ended: its own, or 128 + the signal's number.
pub fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| Some(128 + status.signal()?));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

#[cfg(test)]
#[cfg(any(target_os = "android", target_os = "linux"))]
mod tests {
    use std::process::Stdio;

    use super::*;

    #[test]
    fn children_get_the_limit_of_files_that_was_there_before() {
        let limit = getrlimit(Resource::Nofile);
        let before = limit.maximum.map(|most| most - 1);
        setrlimit(Resource::Nofile, Rlimit { current: before, ..limit }).unwrap();
        raise_file_limit().unwrap();
        assert_eq!(getrlimit(Resource::Nofile).current, limit.maximum);
        let mut command = Command::new("sh");
        let child = spawn(command.args(["-c", "ulimit -Sn"]).stdout(Stdio::piped())).unwrap();
        let said = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        assert_eq!(said.trim().parse().ok(), before, "{said}");
    }
}
