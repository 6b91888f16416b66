//! `sweeper CGROUP DIRECTORY` waits for the end of its input, which is that of the tests, however
//! they end; then it removes what the node of theirs leaves.

use std::{
    env, fs, io,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use mcpulse_tests::node::leftovers;

/// Longest wait for the last process of a control group to be gone.
const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> anyhow::Result<()> {
    let mut words = env::args().skip(1);
    let usage = "usage: sweeper CGROUP DIRECTORY";
    let cgroup = words.next().context(usage)?;
    let directory: PathBuf = words.next().context(usage)?.into();
    io::copy(&mut io::stdin(), &mut io::sink())?;
    let deadline = Instant::now() + PATIENCE;
    while let Err(why) = leftovers::remove(&cgroup) {
        if Instant::now() > deadline {
            return Err(why).context(format!("removing the control group {cgroup}"));
        }
        thread::sleep(Duration::from_millis(50));
    }
    if !directory.join(leftovers::FAILED).exists() {
        fs::remove_dir_all(&directory).context("removing what the tests wrote")?;
    }
    Ok(())
}
