//! A server of a cluster as a process, which ends with the process of the tests.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
};

use crate::program;

/// A process that is killed when this is dropped, and when the tests are killed.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts `program`; what it says goes behind what is in the file `log`.
    pub(crate) fn start(program: &Path, args: Vec<String>, log: &Path) -> Self {
        let file = File::options().create(true).append(true).open(log).expect("a log file");
        let errors = file.try_clone().expect("a log file");
        let mut command = Command::new(program::program("bound"));
        command.arg(program).args(args).stdin(Stdio::null()).stdout(file).stderr(errors);
        Self { child: on_a_lasting_thread(command).expect("the program starts"), log: log.into() }
    }

    /// The end of what it said.
    pub(crate) fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    /// Ends it, and waits until it is gone.
    pub(crate) fn end(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end();
    }
}

/// Linux sends the signal of a parent's death when the thread ends that started the child, and
/// those of tests end with their tests.
fn on_a_lasting_thread(mut command: Command) -> io::Result<Child> {
    let (tell, started) = mpsc::channel();
    thread::spawn(move || {
        // Nobody listens if the test has ended meanwhile.
        let _ = tell.send(command.spawn());
        loop {
            thread::park();
        }
    });
    started.recv().map_err(io::Error::other)?
}
