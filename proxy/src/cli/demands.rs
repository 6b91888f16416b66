//! What a configuration must have, and what cannot stand together in one.

use crate::config::{Config, Mode, Problem, setting::Setting};

/// What nobody gave, with the flag and the variable that would.
pub(super) fn missing(mode: Mode, is_given: impl Fn(&str) -> bool) -> Vec<Problem> {
    let mut demanded = vec![("server-id", "NAME")];
    demanded.push(match mode {
        Mode::Stdio => ("command", "\"python server.py\""),
        Mode::Http => ("remote-url", "https://api.example.com/mcp"),
        Mode::Sse => ("remote-url", "https://api.example.com/sse"),
    });
    match (is_given("listen.tls.cert"), is_given("listen.tls.key")) {
        (true, false) => demanded.push(("tls-key", "FILE")),
        (false, true) => demanded.push(("tls-cert", "FILE")),
        _ => {}
    }
    let missing = |(flag, example): (&str, &str)| {
        let setting = Setting::with_flag(flag).filter(|setting| !is_given(&setting.path(mode)))?;
        let variable = setting.variable();
        let text = format!("--{flag} is missing; write --{flag} {example}, or set {variable}");
        Some(Problem::configuration(text))
    };
    demanded.into_iter().filter_map(missing).collect()
}

/// Transports that only a bridge can join.
pub(super) fn bridge(mode: Mode, listens: bool) -> Option<Problem> {
    let way_out = match (mode, listens) {
        (Mode::Stdio, false) | (Mode::Http | Mode::Sse, true) => return None,
        (Mode::Stdio, true) => {
            "leave out --listen (and MCPULSE_PROXY_LISTEN), so that clients use standard input"
        }
        (Mode::Http | Mode::Sse, false) => {
            "add --listen 127.0.0.1:8080, so that clients use HTTP as the server does"
        }
    };
    Some(Problem::configuration(format!(
        "this needs a bridge between stdio and HTTP, which this version does not have yet; {way_out}"
    )))
}

/// Values that are each fine and cannot be together.
pub(super) fn contradictions(config: &Config) -> Vec<Problem> {
    let mcpulse = &config.mcpulse;
    let mut found = Vec::new();
    let mut above = |smaller: (&str, usize), larger: (&str, usize)| {
        if smaller.1 > larger.1 {
            found.push(Problem::configuration(format!(
                "{} ({}) is above {} ({}); raise the one or lower the other",
                smaller.0, smaller.1, larger.0, larger.1
            )));
        }
    };
    above(("--batch-size", mcpulse.batch_size), ("--batch-max", mcpulse.batch_max));
    above(("--batch-size", mcpulse.batch_size), ("--mcpulse-queue-calls", mcpulse.queue_calls));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Command, Upstream};

    #[test]
    fn a_batch_must_fit_into_a_request_and_the_queue() {
        let mut config = Config::new("x", Upstream::Stdio(Command::default()));
        assert!(contradictions(&config).is_empty());
        config.mcpulse.batch_size = 2000;
        assert_eq!(contradictions(&config).len(), 1);
        config.mcpulse.queue_calls = 1500;
        assert_eq!(contradictions(&config).len(), 2);
    }

    #[test]
    fn every_pair_without_a_bridge_names_the_way_out() {
        for mode in Mode::ALL {
            let (works, lacks) = (mode != Mode::Stdio, mode == Mode::Stdio);
            assert!(bridge(mode, works).is_none());
            let problem = bridge(mode, lacks).unwrap();
            assert!(problem.text.contains("bridge") && problem.text.contains("--listen"));
        }
    }
}
