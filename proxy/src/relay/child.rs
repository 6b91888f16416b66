//! Starts the server: what it inherits, and what to say when it does not start.

use std::{
    convert::Infallible,
    ffi::OsString,
    io,
    path::Path,
    process::{self, ChildStderr, ChildStdin, ChildStdout, Stdio},
    sync::mpsc,
    thread,
};

use tokio::sync::oneshot;

use crate::{config, platform, sink::veil};

/// Variables of the proxy's own, which the server does not get.
const OWN: &str = "MCPULSE_PROXY_";

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The system refused the command.
    #[error("cannot start the server `{program}`: {cause}; {remedy}")]
    Command {
        /// The program of the command, as it may be shown.
        program: String,
        /// What the system said.
        cause: io::Error,
        /// What to do.
        remedy: String,
    },
    /// A variable of the command comes from a file that cannot be read.
    #[error("cannot set the server's variable {name}: {cause}")]
    Variable {
        /// The variable.
        name: String,
        /// Which file, and what the system said.
        cause: io::Error,
    },
    /// The proxy itself lacks the means.
    #[error("cannot start a thread for the server: {0}; raise the limit of processes")]
    Thread(io::Error),
    /// The shim that would start it does not answer.
    #[error("the shim at {socket} does not answer: {cause}; is the server's container up?")]
    Away {
        /// Where it should listen.
        socket: String,
        /// What the system said.
        cause: io::Error,
    },
    /// The shim starts nothing more for now, and says why.
    #[error("the shim starts no other session: {0}")]
    Full(String),
    /// The shim does not start it, and says why.
    #[error("the shim does not start the server: {0}")]
    Refused(String),
}

/// A server that runs.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) process: platform::Process,
    pub(super) input: ChildStdin,
    pub(super) output: ChildStdout,
    /// None when it has ours.
    pub(super) errors: Option<ChildStderr>,
}

/// How a server belongs to the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bond {
    /// It has our standard error and is in our process group, as if the client had started it.
    Shared,
    /// It has a standard error and a process group of its own, which ends with it.
    Own,
}

/// A server that has ended. Until this is dropped, its number, and that of a group that it led,
/// are no stranger's; then what is left of the group is killed.
#[derive(Debug)]
pub(super) struct Ended {
    process: platform::Process,
    /// Lets the thread go that started it.
    _thread: mpsc::Sender<Infallible>,
}

impl Ended {
    /// With which code: its own, or 128 + the number of the signal that ended it.
    pub(super) fn code(self) -> u8 {
        self.process.reap().map_or_else(
            |error| {
                tracing::warn!(%error, "cannot learn how the server ended");
                1
            },
            platform::exit_code,
        )
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        // A second time it says the same again.
        let _ = self.process.reap();
    }
}

/// Starts the command with, of `environment`, every variable that is not the proxy's own.
/// `ended` is told when it has ended.
pub(super) async fn start(
    command: &config::Command,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    bond: Bond,
    ended: impl FnOnce(Ended) + Send + 'static,
) -> Result<Server, StartError> {
    let mut prepared = prepare(command, environment)?;
    if bond == Bond::Own {
        prepared.stderr(Stdio::piped());
    }
    let (tell, started) = oneshot::channel();
    thread::Builder::new()
        .name("server".to_owned())
        .spawn(move || keep(prepared, bond, tell, ended))
        .map_err(StartError::Thread)?;
    let answer = started.await.unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()));
    answer.map_err(|cause| StartError::Command {
        program: veil::program(&command.program),
        remedy: remedy(command, &cause),
        cause,
    })
}

fn prepare(
    command: &config::Command,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<process::Command, StartError> {
    let mut prepared = process::Command::new(&command.program);
    prepared.args(&command.args).stdin(Stdio::piped()).stdout(Stdio::piped());
    let inherited = environment
        .into_iter()
        .filter(|(name, _)| !name.as_encoded_bytes().starts_with(OWN.as_bytes()));
    prepared.env_clear().envs(inherited);
    for (name, value) in &command.env {
        let value =
            value.reveal().map_err(|cause| StartError::Variable { name: name.clone(), cause })?;
        prepared.env(name, value);
    }
    if let Some(cwd) = &command.cwd {
        prepared.current_dir(cwd);
    }
    Ok(prepared)
}

/// The life of the thread that starts the server: it outlives the server, for on Linux the
/// server is told to end when the thread that started it does. It outlives its zombie as well,
/// which would become a child of another thread, and be reaped as an orphan there.
fn keep(
    mut command: process::Command,
    bond: Bond,
    tell: oneshot::Sender<io::Result<Server>>,
    ended: impl FnOnce(Ended),
) {
    let spawned = match bond {
        Bond::Shared => platform::spawn(&mut command),
        Bond::Own => platform::spawn_apart(&mut command),
    };
    let spawned = spawned.and_then(|mut child| {
        let errors = child.stderr.take();
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (input, output) = pipes.ok_or(io::ErrorKind::BrokenPipe)?;
        let process = match bond {
            Bond::Shared => platform::Process::new(child),
            Bond::Own => platform::Process::leading(child),
        };
        Ok(Server { process, input, output, errors })
    });
    let process = spawned.as_ref().ok().map(|server| server.process.clone());
    // Nobody listens any more when the session was dropped meanwhile.
    let _ = tell.send(spawned);
    if let Some(process) = process {
        process.wait();
        let (until, over) = mpsc::channel();
        ended(Ended { process, _thread: until });
        // It fails when nobody has the other end, which is what that is for.
        let _ = over.recv();
    }
}

/// What a person can do about a command that does not start.
fn remedy(command: &config::Command, error: &io::Error) -> String {
    let program = Path::new(&command.program);
    let named_by_path = program.components().count() > 1;
    match (&command.cwd, error.kind()) {
        (Some(cwd), _) if !cwd.is_dir() => {
            format!("its working directory {} is not a directory", cwd.display())
        }
        (_, io::ErrorKind::NotFound) if begins_with_variable(&command.program) => {
            "no shell runs that would set a variable: put env before it (env NAME=VALUE …), or \
             write the variable under env in the file of --config"
                .to_owned()
        }
        (_, io::ErrorKind::NotFound) if command.program.contains(char::is_whitespace) => {
            "no shell splits this: give the program and each argument as words of their own"
                .to_owned()
        }
        (_, io::ErrorKind::NotFound) if named_by_path && program.exists() => {
            "the interpreter in its first line is not installed".to_owned()
        }
        (_, io::ErrorKind::NotFound) if named_by_path => "check the path".to_owned(),
        (_, io::ErrorKind::NotFound) => {
            "install it, add its directory to PATH, or give its full path".to_owned()
        }
        (_, io::ErrorKind::PermissionDenied) if program.is_dir() => {
            "it is a directory; name the program in it".to_owned()
        }
        (_, io::ErrorKind::PermissionDenied) => "make it executable (chmod +x)".to_owned(),
        _ => "check that it runs by itself in a terminal".to_owned(),
    }
}

/// Whether it is `NAME=VALUE`, as a shell has before a program.
fn begins_with_variable(program: &str) -> bool {
    let name = program.split_once('=').map_or("", |(name, _)| name);
    let is_of_names = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty() && name.chars().all(is_of_names)
}
