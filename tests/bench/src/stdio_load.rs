//! Closed-loop load on standard input and output: a fixed number of requests outstanding.

use std::{
    io::{Read, Write},
    time::{Duration, Instant},
};

use anyhow::Context;

use crate::process::Running;

/// What one measurement of a process gave.
#[derive(Debug, Default)]
pub(crate) struct Load {
    /// Round trips, sorted; with more than one outstanding, from write to read.
    pub(crate) latencies: Vec<Duration>,
    /// How long it took.
    pub(crate) elapsed: Duration,
}

/// A request of about 200 bytes, as clients write them.
pub(crate) fn request(id: u64) -> String {
    format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"tools/call\",\"params\":{{\"name\":\"echo\",\
         \"arguments\":{{\"message\":\"a text of some length, as tools are given them\",\
         \"limit\":25}},\"_meta\":{{\"progressToken\":{id}}}}}}}"
    )
}

/// Keeps `outstanding` requests under way for `length`.
pub(crate) fn drive(
    running: &mut Running,
    outstanding: usize,
    length: Duration,
) -> anyhow::Result<Load> {
    let input = running.child.stdin.as_mut().context("no stdin")?;
    let output = running.child.stdout.as_mut().context("no stdout")?;
    let mut sent = std::collections::VecDeque::with_capacity(outstanding);
    let mut buffer = vec![0; 256 << 10];
    let mut batch = Vec::new();
    let mut latencies = Vec::with_capacity(1 << 20);
    let (mut id, mut due) = (0, outstanding);
    let begin = Instant::now();
    loop {
        let ending = begin.elapsed() >= length;
        if !ending {
            batch.clear();
            for _ in 0..due {
                batch.extend_from_slice(request(id).as_bytes());
                batch.push(b'\n');
                id += 1;
            }
            let now = Instant::now();
            sent.extend(std::iter::repeat_n(now, due));
            input.write_all(&batch)?;
        } else if sent.is_empty() {
            break;
        }
        let count = output.read(&mut buffer)?;
        anyhow::ensure!(count > 0, "the server ended");
        due = memchr::memchr_iter(b'\n', &buffer[..count]).count();
        let now = Instant::now();
        // Answers come in the order of the requests: the echo server has one thread.
        latencies.extend(sent.drain(..due).map(|at| now - at));
    }
    let elapsed = begin.elapsed();
    latencies.sort_unstable();
    Ok(Load { latencies, elapsed })
}
