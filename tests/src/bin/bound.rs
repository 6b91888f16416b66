//! Runs a program that ends with the thread that started it, even if that is killed.
//!
//! Servers of a test run outlive the tests that use them; nobody is left to end them when the
//! process of the tests is killed.

use std::{env, io, os::unix::process::CommandExt as _, process::Command};

use rustix::process::{Signal, set_parent_process_death_signal};

fn main() -> io::Result<()> {
    let mut words = env::args_os().skip(1);
    let program = words.next().ok_or(io::ErrorKind::InvalidInput)?;
    set_parent_process_death_signal(Some(Signal::KILL))?;
    Err(Command::new(program).args(words).exec())
}
