//! Windows, where nothing can be asked to end: a child that outstays its grace is ended, and
//! a child whose parent was killed only notices that its standard input ends.

use std::{
    fs::{File, Metadata},
    io,
    os::windows::io::{AsHandle, OwnedHandle},
    path::Path,
    process::{Child, Command, ExitStatus},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use tokio::{
    io::DuplexStream,
    signal::windows::{CtrlBreak, CtrlC, CtrlClose, ctrl_break, ctrl_c, ctrl_close},
};

/// How long a child may have ended without being noticed.
const LOOK: Duration = Duration::from_millis(10);

/// Duplicates standard input and output, past the buffers and the UTF-16 of `std::io`.
pub fn take_stdio() -> io::Result<(File, File)> {
    let input = io::stdin().as_handle().try_clone_to_owned()?;
    let output = io::stdout().as_handle().try_clone_to_owned()?;
    Ok((input.into(), output.into()))
}

/// A pipe: where to read, and where to write.
pub fn pipe() -> io::Result<(File, File)> {
    let (read, write) = io::pipe()?;
    Ok((OwnedHandle::from(read).into(), OwnedHandle::from(write).into()))
}

/// A connection with another process of this machine; nothing makes one here.
pub type LocalStream = DuplexStream;

/// Connects to nobody: the shim is in containers of Linux.
#[expect(clippy::unused_async, reason = "elsewhere it waits")]
pub async fn connect(_socket: &Path) -> io::Result<LocalStream> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Waiting for a non-blocking stream; Windows has none among those that are used here.
pub trait Wait {
    /// Blocks until a read may succeed.
    fn readable(&self) -> io::Result<()> {
        thread::sleep(LOOK);
        Ok(())
    }

    /// Blocks until a write may succeed.
    fn writable(&self) -> io::Result<()> {
        thread::sleep(LOOK);
        Ok(())
    }
}

impl<T> Wait for T {}

/// Does nothing: pipes of the standard library block, and so do writes to them.
pub fn never_block<T>(_pipe: &T) -> io::Result<()> {
    Ok(())
}

/// Never tells of an end that was not read.
pub fn writable_or_closed<T, F>(to: &T, _from: &F) -> io::Result<bool> {
    to.writable().map(|()| false)
}

/// Ctrl-C, Ctrl-Break and the closing of the console: the process is asked to end.
#[derive(Debug)]
pub struct Stop {
    interrupt: CtrlC,
    stop: CtrlBreak,
    close: CtrlClose,
}

impl Stop {
    /// Catches them from now on.
    pub fn catch() -> io::Result<Self> {
        Ok(Self { interrupt: ctrl_c()?, stop: ctrl_break()?, close: ctrl_close()? })
    }

    /// Completes when one of them has come.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.stop.recv() => {}
            _ = self.close.recv() => {}
        }
    }
}

/// What Windows has no signal for; a console that closes is part of [`Stop`].
#[derive(Debug)]
pub struct Hangup;

impl Hangup {
    /// Catches nothing.
    pub fn catch() -> io::Result<Self> {
        Ok(Self)
    }

    /// Never completes.
    pub async fn next(&mut self) {
        std::future::pending().await
    }
}

/// Does nothing: Windows has no such limit.
pub fn raise_file_limit() -> io::Result<()> {
    Ok(())
}

/// What makes a file the same file: nothing that the standard library could tell.
pub fn identity(_file: &Metadata) -> Option<(u64, u64)> {
    None
}

/// Opens a file to append to, and makes it where there is none. Named pipes are none here.
pub fn append_to(path: &Path) -> io::Result<Option<File>> {
    File::options().append(true).create(true).open(path).map(Some)
}

/// Starts a child in the console of the proxy.
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    command.spawn()
}

/// As [`spawn`]: Windows ends no process together with another.
pub fn spawn_apart(command: &mut Command) -> io::Result<Child> {
    spawn(command)
}

/// A running child, shared between the thread that waits for it and those that end it.
#[derive(Clone, Debug)]
pub struct Process(Arc<Mutex<Child>>);

impl Process {
    /// The child must not have been waited for.
    pub fn new(child: Child) -> Self {
        Self(Arc::new(Mutex::new(child)))
    }

    /// A child of [`spawn_apart`].
    pub fn leading(child: Child) -> Self {
        Self::new(child)
    }

    /// None: Windows has no groups that a child could lead.
    pub fn group(&self) -> Option<u32> {
        None
    }

    /// Blocks until the child has ended.
    pub fn wait(&self) {
        // The lock is not held between two looks, or nobody could end the child.
        while let Ok(None) = self.0.lock().unwrap_or_else(PoisonError::into_inner).try_wait() {
            thread::sleep(LOOK);
        }
    }

    /// Takes the status of a child that has ended.
    pub fn reap(&self) -> io::Result<ExitStatus> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).wait()
    }

    /// Does nothing: Windows cannot ask a process without a window to end.
    pub fn terminate(&self) -> io::Result<()> {
        Ok(())
    }

    /// Ends the child. Nothing happens when it has ended already.
    pub fn kill(&self) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).kill()
    }
}

/// The code with which to pass on how a child ended. Codes above 255 become 1.
pub fn exit_code(status: ExitStatus) -> u8 {
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
