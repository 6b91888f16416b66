//! What the file of `--config` says, of whichever kind it is.

use std::path::Path;

use super::{
    Environment,
    layer::{Given, Source},
    mcp_json,
    several::Entry,
    yaml,
};
use crate::config::{Mode, Problem, setting::Setting};

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The mode; none when the file should say it and does not.
    pub(super) mode: Option<Mode>,
    /// The server's name in a file of several.
    pub(super) server: Option<String>,
    /// The settings; of a list of servers what they share.
    pub(super) givens: Vec<Given>,
    /// The list of servers; none when it is about one.
    pub(super) entries: Option<Vec<Entry>>,
    /// What is wrong with it.
    pub(super) problems: Vec<Problem>,
    /// Whether all of it could be read, so that what is not there is missing.
    pub(super) whole: bool,
}

impl Found {
    /// A file that nothing is known of.
    pub(super) fn unreadable(problem: String) -> Self {
        Self { problems: vec![Problem::configuration(problem)], ..Self::default() }
    }

    /// Whether a server of it is a program.
    pub(super) fn starts_programs(&self) -> bool {
        let modes = self.entries.iter().flatten().map(|entry| entry.mode);
        modes.chain([self.mode]).any(|mode| mode == Some(Mode::Stdio))
    }
}

/// What `mcp.json` says, and the server's name there as its id; `givens` are stronger.
pub(super) fn of_mode(
    mode: Mode,
    path: Option<&Path>,
    server: Option<(String, Source)>,
    environment: &Environment,
    givens: &[Given],
) -> Found {
    let mut found = match path {
        Some(path) => {
            let name = server.as_ref().map(|(name, _)| name.as_str());
            let replaced: Vec<&str> = givens.iter().map(|given| given.setting.key).collect();
            mcp_json::read(path, name, mode, environment, &replaced)
        }
        None => Found { mode: Some(mode), whole: true, ..Found::default() },
    };
    if let (Some((name, source)), Some(setting)) = (server, Setting::with_flag("server-id")) {
        found.givens.retain(|given| given.setting.key != setting.key);
        let value = setting.kind.parse(&name).map_err(|wrong| wrong.to_string());
        found.givens.push(Given { setting, value, source });
    }
    found
}

/// What the YAML file of `run` says.
pub(super) fn of_file(path: Option<&Path>) -> Found {
    let missing = "--config is missing; write run --config FILE.yaml, or set MCPULSE_PROXY_CONFIG";
    match path {
        Some(path) => yaml::read(path),
        None => Found { problems: vec![Problem::usage(missing)], ..Found::default() },
    }
}
