//! The command line: flags over variables over files, all of them ending in one [`Config`].
//! Nothing here reads the process's own environment; [`Environment`] is handed in.

use std::{ffi::OsString, path::Path};

use crate::config::{Config, Problem, problem::Refusal};

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
mod reread;
mod several;
mod strays;
mod workload;
mod yaml;

use args::Purpose;
pub use chain::VARIABLE as CHAIN;
pub use environment::Environment;
use found::Found;
use layer::{Layers, Source};
pub use reread::Reread;

/// What the command line asks for.
#[derive(Debug, PartialEq)]
pub enum Request {
    /// Print this on standard output and end well: help, version, `--print-config`.
    Show(String),
    /// Forward and observe.
    Serve(Start),
    /// Say whether [`Request::Serve`] would work.
    Check(Start),
    /// Ask the proxy of this configuration, which runs here, to drain.
    Drain(Box<Config>),
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
    /// The file of `run`, to be read again; none without one.
    pub reread: Option<Reread>,
}

/// Reads the command line, the variables and the files that they name.
///
/// # Errors
/// Every problem that there is.
pub fn read(
    arguments: impl IntoIterator<Item = OsString>,
    environment: &Environment,
) -> Result<Request, Refusal> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let typed = match args::parse(arguments.clone()) {
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
    let chain = path
        .filter(|_| found.starts_programs())
        .map(|path| chain::extended(path, found.server.as_deref(), environment));
    problems.extend(found.problems);
    let chain = chain
        .and_then(|chain| chain.map_err(|wrong| problems.push(Problem::configuration(wrong))).ok());
    let id_is_given = givens.iter().any(|given| given.setting.key == "serverId");
    let more = found.givens.into_iter();
    givens.extend(more.filter(|given| given.setting.key != "serverId" || !id_is_given));
    givens.extend(proxies::given(environment, &givens));
    let print = typed.print || environment.switch("print-config", &mut problems);
    let (mut config, origins) = if let Some(entries) = found.entries {
        several::settle(entries, givens, environment, problems)?
    } else {
        let listens = layer::listens(&givens);
        let layers = Layers::new(found.mode, listens, givens, &mut problems);
        if found.whole {
            problems.extend(layers.missing());
        }
        layers.settle(problems)?
    };
    workload::add_to(&mut config, environment);
    if print {
        return Ok(Request::Show(print::config(&config, &origins)));
    }
    let reread = file.filter(|_| typed.mode.is_none());
    let reread = reread.map(|(path, _)| Reread::new(path, arguments, environment));
    let start = Start { config: Box::new(config), notices, chain, reread };
    Ok(match typed.purpose {
        Purpose::Serve => Request::Serve(start),
        Purpose::Check => Request::Check(start),
        Purpose::Drain => Request::Drain(start.config),
    })
}

#[cfg(test)]
mod tests;
