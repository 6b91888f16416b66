//! The command line: flags over variables over files, all of them ending in one [`Config`].
//! Nothing here reads the process's own environment; [`Environment`] is handed in.

use std::{ffi::OsString, path::Path};

use crate::config::{Config, Mode, Problem, problem::Refusal};

mod args;
mod chain;
mod demands;
mod environment;
mod found;
mod layer;
mod mcp_json;
mod opentelemetry;
mod own;
mod print;
mod proxies;
mod strays;
mod yaml;

pub use chain::VARIABLE as CHAIN;
pub use environment::Environment;
use found::Found;
use layer::{Layers, Source};

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
        None if path.is_none() && typed.valueless.iter().any(|flag| flag == "config") => {
            Found::default()
        }
        Some(mode) => found::of_mode(mode, path, own("server", typed.server), environment, &givens),
        None => found::of_file(path),
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
    givens.extend(proxies::given(environment, &givens));
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

#[cfg(test)]
mod tests;
