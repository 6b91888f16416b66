//! The command line: flags over variables over files, all of them ending in one [`Config`].
//! Nothing here reads the process's own environment; [`Environment`] is handed in.

use std::{ffi::OsString, path::Path};

use crate::config::{Config, Mode, Problem, problem::Refusal, setting::Setting};

mod args;
mod demands;
mod environment;
mod layer;
mod mcp_json;
mod nearest;
mod own;
mod print;
mod strays;
mod veil;
mod yaml;

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
        (false, true) => Request::Check(Start { config, notices }),
        (false, false) => Request::Serve(Start { config, notices }),
    })
}

/// What a file says.
#[derive(Debug, Default)]
struct Found {
    /// The mode; none when the file should say it and does not.
    mode: Option<Mode>,
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
    let mut found = Found { mode: Some(mode), whole: true, ..Found::default() };
    let mut named = server;
    if let Some(path) = path {
        let name = named.as_ref().map(|(name, _)| name.as_str());
        match mcp_json::read(path, name, mode, environment) {
            Ok((name, givens)) => {
                found.givens = givens;
                let source = Source::File(path.display().to_string(), None);
                named = named.or(Some((name, source)));
            }
            Err(problems) => (found.problems, found.whole) = (problems, false),
        }
    }
    if let (Some((name, source)), Some(setting)) = (named, Setting::with_flag("server-id")) {
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
