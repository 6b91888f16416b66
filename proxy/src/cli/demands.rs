//! What a configuration must have, and what cannot stand together in one.

use crate::config::{Mcpulse, Mode, Problem, setting::Setting};

/// Where the shim is that starts the server, and what is said of one that the proxy starts.
const SOCKET: &str = "upstream.stdio.socket";
const OF_PROGRAM: [&str; 4] =
    ["upstream.stdio.program", "upstream.stdio.args", "upstream.stdio.env", "upstream.stdio.cwd"];

/// What nobody gave, with the flag and the variable that would.
pub(super) fn missing(mode: Option<Mode>, is_given: impl Fn(&str) -> bool) -> Vec<Problem> {
    let mut demanded = vec![("server-id", "NAME")];
    demanded.extend(mode.map(reached_by).filter(|_| !is_given(SOCKET)));
    demanded.extend(half_of_tls(&is_given));
    absent(&demanded, mode.unwrap_or(Mode::Http), is_given)
}

/// What nobody gave of what several servers share, with the flag and the variable that would.
pub(super) fn missing_beside_servers(is_given: impl Fn(&str) -> bool) -> Vec<Problem> {
    let mut demanded = vec![("listen", "127.0.0.1:8080")];
    demanded.extend(half_of_tls(&is_given));
    absent(&demanded, Mode::Http, is_given)
}

/// What an entry of a list of servers lacks: keys, and what could stand there.
pub(super) fn missing_in_entry(
    mode: Option<Mode>,
    is_given: impl Fn(&str) -> bool,
) -> Vec<(String, &'static str)> {
    let reached_by = mode.map(reached_by).filter(|_| !is_given(SOCKET));
    let demanded = [("server-id", "my-server")].into_iter().chain(reached_by);
    let key = |(flag, example)| {
        let key = Setting::with_flag(flag)?.path(mode.unwrap_or(Mode::Http));
        // In a file it is the program alone.
        let example = if flag == "command" { "python" } else { example };
        (!is_given(&key)).then_some((key, example))
    };
    demanded.filter_map(key).collect()
}

/// The flag that says how a server is reached, with an example.
fn reached_by(mode: Mode) -> (&'static str, &'static str) {
    match mode {
        Mode::Stdio => ("command", "\"python server.py\""),
        Mode::Http => ("remote-url", "https://api.example.com/mcp"),
        Mode::Sse => ("remote-url", "https://api.example.com/sse"),
    }
}

fn half_of_tls(is_given: &impl Fn(&str) -> bool) -> Option<(&'static str, &'static str)> {
    match (is_given("listen.tls.cert"), is_given("listen.tls.key")) {
        (true, false) => Some(("tls-key", "FILE")),
        (false, true) => Some(("tls-cert", "FILE")),
        _ => None,
    }
}

fn absent(demanded: &[(&str, &str)], mode: Mode, is_given: impl Fn(&str) -> bool) -> Vec<Problem> {
    let missing = |(flag, example): &(&str, &str)| {
        let setting = Setting::with_flag(flag).filter(|setting| !is_given(&setting.path(mode)))?;
        let variable = setting.variable();
        let text = format!("--{flag} is missing; write --{flag} {example}, or set {variable}");
        Some(Problem::configuration(text))
    };
    demanded.iter().filter_map(missing).collect()
}

/// Values that are each fine and cannot be together; `given` knows the numbers that somebody
/// gave, by their place.
pub(super) fn contradictions(given: impl Fn(&str) -> Option<u64>) -> Vec<Problem> {
    let default = Mcpulse::default();
    let of = |flag: &'static str, key: &str, default: usize| {
        (flag, given(key).unwrap_or(default as u64))
    };
    let size = of("--batch-size", "mcpulse.batchSize", default.batch_size);
    let max = of("--batch-max", "mcpulse.batchMax", default.batch_max);
    let queue = of("--mcpulse-queue-calls", "mcpulse.queueCalls", default.queue_calls);
    let above = |smaller: (&str, u64), larger: (&str, u64)| {
        let text = format!(
            "{} ({}) is above {} ({}); raise the one or lower the other",
            smaller.0, smaller.1, larger.0, larger.1
        );
        (smaller.1 > larger.1).then(|| Problem::configuration(text))
    };
    [above(size, max), above(size, queue)].into_iter().flatten().collect()
}

/// The places of what cannot stand beside the socket of a shim, and why.
pub(super) fn beside_socket(
    is_given: impl Fn(&str) -> bool,
) -> (impl Iterator<Item = &'static str>, &'static str) {
    let of_program = is_given(SOCKET).then_some(OF_PROGRAM).into_iter().flatten();
    let wrong = "stands beside the socket of a shim, which knows what it starts; keep one";
    (of_program.filter(move |path| is_given(path)), wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_must_fit_into_a_request_and_the_queue() {
        let found = |numbers: &[(&str, u64)]| {
            let given = |path: &str| Some(numbers.iter().find(|(key, _)| *key == path)?.1);
            contradictions(given).len()
        };
        assert_eq!(found(&[]), 0);
        assert_eq!(found(&[("mcpulse.batchSize", 2000)]), 1);
        assert_eq!(found(&[("mcpulse.batchSize", 2000), ("mcpulse.queueCalls", 1500)]), 2);
    }
}
