//! What injection costs, on the API server and in the operator. `make bench-kube` runs it, with an
//! operator that is optimized, and prints what README has; `make test` only compiles it.
#![expect(clippy::print_stdout, reason = "a benchmark that reports")]

use crate::crowd::{Cost, REST, SERVERS};

mod admission;

/// Turns of every contender.
const ROUNDS: usize = 5;

#[tokio::test]
#[ignore = "a benchmark of minutes, for make bench-kube"]
async fn what_admission_costs() {
    println!("{}", admission::table(ROUNDS).await);
}

#[tokio::test]
#[ignore = "a benchmark of minutes, for make bench-kube"]
async fn what_the_operator_takes_among_many() {
    const PODS: usize = 5000;
    const MIB: f64 = 1024.0;
    let cost = Cost::of(PODS).await;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let mib = |kib: u64| kib as f64 / MIB;
    let seconds = |time: std::time::Duration| time.as_secs_f64();
    let second_at_rest = seconds(cost.rest) * 1000.0 / seconds(REST);
    println!(
        "| the operator with {SERVERS} `McpServer`s and {PODS} pods | |\n|---|---|\n\
         | resident at rest | {:.0} MiB ({:.0} MiB allocated) |\n\
         | resident at most | {:.0} MiB |\n\
         | from applying all `McpServer`s until the last has conditions | {:.0} s |\n\
         | until each pod is counted, half of which are made meanwhile | {:.0} s |\n\
         | processor time until then | {:.1} s |\n\
         | processor time at rest | {second_at_rest:.1} ms a second |\n\
         | requests at rest | none but watches and the lease |",
        mib(cost.resident),
        mib(cost.allocated),
        mib(cost.peak),
        seconds(cost.told),
        seconds(cost.counted),
        seconds(cost.work),
    );
}
