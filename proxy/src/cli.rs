//! The command line: flags over variables over files, all of them ending in one [`Config`].
//! Nothing here reads the process's own environment; [`Environment`] is handed in.

use std::{ffi::OsString, path::Path};

use crate::config::{Config, Mode, Problem, problem::Refusal, setting::Setting};

mod args;
mod chain;
mod demands;
mod environment;
mod layer;
mod mcp_json;
mod nearest;
mod opentelemetry;
mod own;
mod print;
mod strays;
mod veil;
mod yaml;

pub use chain::VARIABLE as CHAIN;
pub use environment::Environment;
use layer::{Given, Layers, Source};

/// What the command line asks for.
#[derive(Debug, PartialEq)]
pub enum Request {
    /// Print this on standard output and end well: help, version, `--print-config`.
    Show(String),
    /// Forward and observe.
    Serve(Start),
    /// Say whether [`Request::Serve`] would work.
    Check(Start),
}

/// All that a start needs.
#[derive(Debug, PartialEq)]
pub struct Start {
    /// The effective configuration.
    pub config: Box<Config>,
    /// What was passed over, for the log.
    pub notices: Vec<String>,
    /// The value of [`CHAIN`] for a child; none when no file was read.
    pub chain: Option<String>,
}

/// Reads the command line, the variables and the files that they name.
///
/// # Errors
/// Every problem that there is.
pub fn read(
    arguments: impl IntoIterator<Item = OsString>,
    environment: &Environment,
) -> Result<Request, Refusal> {
    let typed = match args::parse(arguments) {
        Ok(typed) => typed,
        Err(args::Stop::Show(text)) => return Ok(Request::Show(text)),
        Err(args::Stop::Refuse(problem)) => return Err(problem.into()),
    };
    let mut problems = typed.problems;
    let (mut givens, notices) = environment.givens();
    givens.extend(typed.givens);
    let own = |flag: &str, typed: Option<String>| {
        let typed = typed.map(|text| (text, Source::Flag(format!("--{flag}"))));
        typed.or_else(|| environment.own(flag))
    };
    let file = own("config", typed.config);
    let path = file.as_ref().map(|(path, _)| Path::new(path));
    if typed.mode.is_none() && typed.server.is_some() {
        let text = "--server does not apply to run; write serverId in the file, or --server-id";
        problems.push(Problem::usage(text));
    }
    let found = match typed.mode {
        Some(mode) => of_mode(mode, path, own("server", typed.server), environment),
        None => of_file(path),
    };
    problems.extend(found.problems);
    let chain = match (path, found.mode) {
        (Some(path), Some(Mode::Stdio)) => {
            let chain = chain::extended(path, found.server.as_deref(), environment);
            chain.map_err(|wrong| problems.push(Problem::configuration(wrong))).ok()
        }
        _ => None,
    };
    let id_is_given = givens.iter().any(|given| given.setting.key == "serverId");
    let more = found.givens.into_iter();
    givens.extend(more.filter(|given| given.setting.key != "serverId" || !id_is_given));
    let print = typed.print || environment.switch("print-config", &mut problems);
    let layers = Layers::new(found.mode, givens, &mut problems);
    if found.whole {
        problems.extend(layers.missing());
    }
    let (config, origins) = layers.settle(problems)?;
    let config = Box::new(config);
    Ok(match (print, typed.check) {
        (true, _) => Request::Show(print::config(&config, &origins)),
        (false, true) => Request::Check(Start { config, notices, chain }),
        (false, false) => Request::Serve(Start { config, notices, chain }),
    })
}

/// What a file says.
#[derive(Debug, Default)]
struct Found {
    /// The mode; none when the file should say it and does not.
    mode: Option<Mode>,
    /// The server's name in a file of several.
    server: Option<String>,
    givens: Vec<Given>,
    problems: Vec<Problem>,
    /// Whether all of it could be read, so that what is not there is missing.
    whole: bool,
}

impl Found {
    /// A file that nothing is known of.
    fn unreadable(problem: String) -> Self {
        Self { problems: vec![Problem::configuration(problem)], ..Self::default() }
    }
}

/// What `mcp.json` says, and the server's name there as its id.
fn of_mode(
    mode: Mode,
    path: Option<&Path>,
    server: Option<(String, Source)>,
    environment: &Environment,
) -> Found {
    let mut found = match path {
        Some(path) => {
            let name = server.as_ref().map(|(name, _)| name.as_str());
            mcp_json::read(path, name, mode, environment)
        }
        None => Found { mode: Some(mode), whole: true, ..Found::default() },
    };
    if let (Some((name, source)), Some(setting)) = (server, Setting::with_flag("server-id")) {
        found.givens.retain(|given| given.setting.key != setting.key);
        found.givens.push(Given { setting, value: setting.kind.parse(&name), source });
    }
    found
}

/// What the YAML file of `run` says.
fn of_file(path: Option<&Path>) -> Found {
    let missing = "--config is missing; write run --config FILE.yaml, or set MCPULSE_PROXY_CONFIG";
    match path {
        Some(path) => yaml::read(path),
        None => Found { problems: vec![Problem::usage(missing)], ..Found::default() },
    }
}

#[cfg(test)]
mod tests;
