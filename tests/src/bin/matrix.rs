//! Every real client with every real server on every two transports between which the proxy
//! stands: a row for each pair as it ends, and a summary.
#![expect(clippy::print_stdout, reason = "a test that reports")]

use std::{
    collections::BTreeMap,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use mcpulse_tests::pair::Pair;
use tokio::task::{JoinSet, LocalSet};

/// Which pairs meet, and how many at a time.
#[derive(Parser)]
struct Plan {
    /// Only pairs whose row contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Pairs at a time.
    #[arg(long, default_value_t = 3)]
    jobs: usize,
}

/// How many pairs of two transports there were, and how many of them failed.
type Summary = BTreeMap<String, (usize, usize)>;

async fn meet(pair: Pair) -> (Pair, bool, Duration) {
    let begun = Instant::now();
    // What a failure was about, it says on standard error.
    let met = tokio::task::spawn_local(pair.check()).await;
    (pair, met.is_ok(), begun.elapsed())
}

async fn matrix(plan: Plan) -> ExitCode {
    let pairs = Pair::all().into_iter().filter(|pair| pair.to_string().contains(&plan.only));
    let (mut pairs, mut meeting) = (pairs.fuse(), JoinSet::new());
    let mut summary = Summary::new();
    println!("| pair | outcome | seconds |\n|---|---|---|");
    loop {
        while meeting.len() < plan.jobs
            && let Some(pair) = pairs.next()
        {
            meeting.spawn_local(meet(pair));
        }
        let Some(Ok((pair, ok, took))) = meeting.join_next().await else { break };
        let outcome = if ok { "as without the proxy" } else { "FAILED" };
        println!("| {pair} | {outcome} | {:.1} |", took.as_secs_f64());
        let row = pair.to_string();
        let transports = row.split(':').next().unwrap_or_default();
        let (all, failed) = summary.entry(transports.to_owned()).or_default();
        *all += 1;
        *failed += usize::from(!ok);
    }
    println!("\n| transports | pairs of a client and a server | failed |\n|---|---|---|");
    for (transports, (all, failed)) in &summary {
        println!("| {transports} | {all} | {failed} |");
    }
    let ok = !summary.is_empty() && summary.values().all(|(_, failed)| *failed == 0);
    if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    LocalSet::new().run_until(matrix(Plan::parse())).await
}
