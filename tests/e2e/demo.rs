//! `make run` shows what it promises.

use std::{collections::BTreeMap, process::Command};

use mcpulse_tests::program;

#[test]
fn the_table_has_every_kind_of_call() {
    let output = Command::new(program("demo")).env_remove("SERVER").env_remove("KEEP").output();
    let output = output.expect("the demonstration runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{complaints}");

    // tool, calls, errors, p50 ms, p95 ms, kinds of errors
    let rows = said.lines().filter(|line| line.contains(" ms "));
    let rows: BTreeMap<_, Vec<_>> = rows
        .map(|row| {
            let mut words = row.split_whitespace();
            (words.next().unwrap_or_default(), words.collect())
        })
        .collect();
    let counts = |tool: &str| rows.get(tool).map(|words| words[..2].join(" "));
    let expected = [
        ("break_down", "3 3"),
        ("echo", "20 0"),
        ("fail", "5 5"),
        ("no_such_tool", "3 3"),
        ("slow", "6 1"),
    ];
    for (tool, expected) in expected {
        assert_eq!(counts(tool).as_deref(), Some(expected), "{tool} in:\n{said}");
    }
    let milliseconds = |tool: &str, word: usize| -> f64 { rows[tool][word].parse().expect("ms") };
    let (typical, slowest) = (milliseconds("slow", 2), milliseconds("slow", 4));
    assert!((80.0..3000.0).contains(&typical) && slowest >= 3000.0, "{said}");
    // Calls of less than a millisecond are measured, not rounded away.
    assert!(milliseconds("echo", 2) > 0.0, "{said}");
    assert!(said.contains("/metrics") && said.contains("outcome=\"cancelled\"} 1"), "{said}");
}
