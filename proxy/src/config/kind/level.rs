//! Levels of the log. A word that is none would name a target without one, and silence all else.

use std::str::FromStr;

use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use crate::config::nearest::nearest;

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// What lines of ours are from, besides the modules below it; the other is of programs.
const OWN: &str = env!("CARGO_CRATE_NAME");
const OF_SERVERS: &str = "server";

/// Levels, or directives as `RUST_LOG` takes them.
pub(super) fn read(text: &str) -> Result<&str, String> {
    let wrong = |meant: Option<&str>| {
        let meant = meant.map(|word| format!(" did you mean {word}?")).unwrap_or_default();
        format!("is no log level;{meant} write e.g. info or {OWN}=debug")
    };
    for directive in text.split(',').map(str::trim) {
        let target = directive.split(['=', '[']).next().unwrap_or_default();
        let is_target = target == OF_SERVERS || target == OWN || target.contains("::");
        if target.is_empty() || is_target || LevelFilter::from_str(directive).is_ok() {
            continue;
        }
        let known: &[&str] = if target == directive { &LEVELS } else { &[OWN, OF_SERVERS] };
        let meant = nearest(target, known.iter().map(|&known| (known, known)));
        if target == directive || meant.is_some() {
            return Err(wrong(meant));
        }
    }
    EnvFilter::try_new(text).map(|_| text).map_err(|_| wrong(None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_silence_the_log_is_no_level() {
        for (text, meant) in [
            ("inof", "did you mean info?"),
            ("debg,hyper=info", "did you mean debug?"),
            ("mcpulse-proxy=debug", "did you mean mcpulse_proxy?"),
            ("proxy=debug", "did you mean mcpulse_proxy?"),
            ("mcpulse_proxy=loud", "write e.g. info"),
            ("hunter2", "write e.g. info"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(meant) && !error.contains("hunter2"), "{text}: {error}");
        }
        for text in [
            "info",
            "WARN",
            "off",
            "mcpulse_proxy=debug",
            "warn,hyper=debug,server=off",
            "mcpulse_proxy::relay=trace,info",
            "mcpulse_proxy",
        ] {
            assert_eq!(read(text), Ok(text));
        }
    }
}
