//! The command line: flags over variables over files, all of them ending in one [`Config`].
//! Nothing here reads the process's own environment; [`Environment`] is handed in.

use std::{ffi::OsString, path::Path};

use crate::config::{Config, Mode, Problem, problem::Refusal, setting::Setting};

mod args;
mod environment;
mod layer;
mod mcp_json;
mod print;
mod yaml;

pub use environment::Environment;
use layer::{Given, Layers, Source};

/// What the command line asks for.
#[derive(Debug)]
pub enum Request {
    /// Print this on standard output and end well: help, version, `--print-config`.
    Show(String),
    /// Forward and observe.
    Serve(Box<Config>),
    /// Say whether [`Request::Serve`] would work.
    Check(Box<Config>),
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
    let flag_or_variable = |flag: &str, typed: Option<String>| {
        let variable = format!("MCPULSE_PROXY_{}", flag.to_uppercase());
        let inherited = environment.get(&variable).map(str::to_owned);
        typed
            .map(|text| (text, Source::Flag(format!("--{flag}"))))
            .or_else(|| Some((inherited?, Source::Variable(variable))))
    };
    let file = flag_or_variable("config", typed.config);
    let server = flag_or_variable("server", typed.server);

    let mut givens = environment.givens();
    givens.extend(typed.givens);
    let mut problems = Vec::new();
    let path = file.as_ref().map(|(path, _)| Path::new(path));
    let name = server.as_ref().map(|(name, _)| name.as_str());
    let from_file = match typed.mode {
        Some(mode) => from_mcp_json(path, name, mode, environment),
        None => path
            .ok_or_else(|| vec![Problem::usage("run needs --config FILE.yaml")])
            .and_then(yaml::read),
    };
    let (mode, more) = match from_file {
        Ok(found) => found,
        Err(found) => {
            problems.extend(found);
            if let Some(mode) = typed.mode {
                Layers::new(mode, givens, &mut problems);
            }
            return Err(problems.into());
        }
    };
    givens.extend(more);
    if let Some((name, source)) = server {
        default_server_id(&mut givens, name, source);
    }
    let layers = Layers::new(mode, givens, &mut problems);
    let (config, origins) = match layers.settle() {
        Ok(settled) => settled,
        Err(found) => {
            problems.extend(found);
            return Err(problems.into());
        }
    };
    Refusal::of(problems)?;
    Ok(if typed.print {
        Request::Show(print::config(&config, &origins))
    } else if typed.check {
        Request::Check(Box::new(config))
    } else {
        Request::Serve(Box::new(config))
    })
}

fn from_mcp_json(
    path: Option<&Path>,
    name: Option<&str>,
    mode: Mode,
    environment: &Environment,
) -> Result<(Mode, Vec<Given>), Vec<Problem>> {
    let Some(path) = path else { return Ok((mode, Vec::new())) };
    let (name, mut givens) = mcp_json::read(path, name, mode, environment)?;
    let file = Source::File(path.display().to_string(), None);
    givens.extend(server_id(name, file));
    Ok((mode, givens))
}

/// `--server NAME` is the server id unless somebody says another.
fn default_server_id(givens: &mut Vec<Given>, name: String, source: Source) {
    if !givens
        .iter()
        .any(|given| given.setting.key == "serverId" && !matches!(given.source, Source::File(..)))
    {
        givens.retain(|given| given.setting.key != "serverId");
        givens.extend(server_id(name, source));
    }
}

fn server_id(name: String, source: Source) -> Option<Given> {
    let setting = Setting::flagged("server-id")?;
    Some(Given { setting, value: Ok(name.into()), source })
}
