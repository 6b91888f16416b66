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
mod print;
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
    let (mut givens, notices) = environment.givens();
    givens.extend(typed.givens);
    let own = |flag: &str, typed: Option<String>| {
        let typed = typed.map(|text| (text, Source::Flag(format!("--{flag}"))));
        typed.or_else(|| environment.own(flag))
    };
    let file = own("config", typed.config);
    let path = file.as_ref().map(|(path, _)| Path::new(path));
    let mut problems = Vec::new();
    let found = match typed.mode {
        Some(mode) => of_mode(mode, path, own("server", typed.server), environment),
        None => of_file(path, typed.server.is_some()),
    };
    let (mode, more) = match found {
        Ok(found) => found,
        Err(found) => {
            problems.extend(found);
            if let Some(mode) = typed.mode {
                Layers::new(mode, givens, &mut problems);
            }
            return Err(problems.into());
        }
    };
    let id_is_given = givens.iter().any(|given| given.setting.key == "serverId");
    givens.extend(more.into_iter().filter(|given| given.setting.key != "serverId" || !id_is_given));
    let layers = Layers::new(mode, givens, &mut problems);
    let (config, origins) = layers.settle(problems)?;
    let config = Box::new(config);
    Ok(match (typed.print, typed.check) {
        (true, _) => Request::Show(print::config(&config, &origins)),
        (false, true) => Request::Check(Start { config, notices }),
        (false, false) => Request::Serve(Start { config, notices }),
    })
}

/// What `mcp.json` says, and the server's name there as its id.
fn of_mode(
    mode: Mode,
    path: Option<&Path>,
    server: Option<(String, Source)>,
    environment: &Environment,
) -> Result<(Mode, Vec<Given>), Vec<Problem>> {
    let mut givens = Vec::new();
    let mut named = server;
    if let Some(path) = path {
        let name = named.as_ref().map(|(name, _)| name.as_str());
        let (name, found) = mcp_json::read(path, name, mode, environment)?;
        givens = found;
        named = named.or_else(|| Some((name, Source::File(path.display().to_string(), None))));
    }
    if let (Some((name, source)), Some(setting)) = (named, Setting::with_flag("server-id")) {
        givens.push(Given { setting, value: setting.kind.parse(&name), source });
    }
    Ok((mode, givens))
}

/// What the YAML file of `run` says.
fn of_file(path: Option<&Path>, server: bool) -> Result<(Mode, Vec<Given>), Vec<Problem>> {
    if server {
        let text = "--server does not apply to run; write serverId in the file, or --server-id";
        return Err(vec![Problem::usage(text)]);
    }
    match path {
        Some(path) => yaml::read(path),
        None => Err(vec![Problem::usage(
            "--config is missing; write run --config FILE.yaml, or set MCPULSE_PROXY_CONFIG",
        )]),
    }
}

#[cfg(test)]
mod tests;
