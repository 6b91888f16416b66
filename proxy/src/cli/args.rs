//! The command line as typed: sub-commands, and one flag for every setting of the table.

use std::ffi::OsString;

use clap::{
    Arg, ArgAction, ArgMatches, Command,
    error::{ContextKind, ErrorKind},
    parser::ValueSource,
};
use serde_yaml::Value;

use super::layer::{Given, Source};
use crate::config::{
    Mode, Problem,
    kind::Kind,
    setting::{ALL, Setting},
};

/// What was typed.
#[derive(Debug)]
pub(super) struct Typed {
    /// The mode; none for `run`, where the file says it.
    pub mode: Option<Mode>,
    /// Whether `check` came first.
    pub check: bool,
    /// `--print-config`.
    pub print: bool,
    /// `--config`.
    pub config: Option<String>,
    /// `--server`.
    pub server: Option<String>,
    /// The settings.
    pub givens: Vec<Given>,
}

/// Why there is nothing to go on with.
#[derive(Debug)]
pub(super) enum Stop {
    /// Help or version was asked for.
    Show(String),
    /// The command line cannot be meant.
    Refuse(Problem),
}

/// Reads the command line, program name first.
pub(super) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Typed, Stop> {
    let matches = command().try_get_matches_from(arguments).map_err(|error| stop(&error))?;
    let (mut name, mut matches) = matches.subcommand().unwrap_or(("", &matches));
    let check = name == "check";
    if check {
        (name, matches) = matches.subcommand().unwrap_or(("", matches));
    }
    Ok(Typed {
        mode: Mode::named(name),
        check,
        print: matches.get_flag("print-config"),
        config: matches.get_one("config").cloned(),
        server: matches.get_one("server").cloned(),
        givens: givens(matches),
    })
}

fn givens(matches: &ArgMatches) -> Vec<Given> {
    let typed = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    let flagged = ALL.iter().filter(|setting| !setting.flag.is_empty());
    let mut givens = Vec::new();
    for setting in flagged {
        let texts = matches.get_many::<String>(setting.flag).into_iter().flatten();
        givens.extend(texts.map(|text| Given {
            setting,
            value: setting.kind.parse(text),
            source: Source::Flag(setting.name()),
        }));
        if setting.kind == Kind::Words && typed("program") {
            let words = matches.get_many::<String>("program").into_iter().flatten();
            let words = words.map(|word| Value::from(word.as_str())).collect();
            let source = Source::Flag("-- PROGRAM".to_owned());
            givens.push(Given { setting, value: Ok(words), source });
        }
    }
    givens
}

/// The whole command line, for parsing and for help.
pub(super) fn command() -> Command {
    let modes = || {
        [
            mode("stdio", Some(Mode::Stdio), "Observe a server that is a program on this machine"),
            mode("http", Some(Mode::Http), "Observe a remote server (streamable HTTP)"),
            mode("sse", Some(Mode::Sse), "Observe a remote server (HTTP+SSE of 2024-11-05)"),
            mode("run", None, "Observe the server that a YAML file describes"),
        ]
    };
    let check = Command::new("check")
        .about("Say whether a proxy with these settings would work: validates, dials both ends")
        .subcommand_required(true)
        .disable_help_subcommand(true)
        .subcommands(modes());
    Command::new("mcpulse-proxy")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Reports every tool call of an MCP server, and changes not one byte")
        .subcommand_required(true)
        .disable_help_subcommand(true)
        .subcommands(modes())
        .subcommand(check)
}

fn mode(name: &'static str, mode: Option<Mode>, about: &'static str) -> Command {
    let file = if mode.is_some() { "mcp.json to take the server from" } else { "YAML file" };
    let mut command = Command::new(name)
        .about(about)
        .arg(Arg::new("config").long("config").value_name("FILE").help(file))
        .arg(
            Arg::new("print-config")
                .long("print-config")
                .action(ArgAction::SetTrue)
                .help("Print the effective configuration and where it comes from, and end"),
        )
        .args(
            ALL.iter().filter(|setting| !setting.flag.is_empty()).map(|setting| arg(setting, mode)),
        );
    let server = Arg::new("server").long("server").value_name("NAME");
    command = command.arg(
        server.hide(mode.is_none()).help("Server of mcp.json; also the server id unless given"),
    );
    let program = Arg::new("program").last(true).num_args(1..).value_name("PROGRAM");
    command.arg(
        program
            .hide(mode.is_some_and(|mode| mode != Mode::Stdio))
            .help("The server's program and arguments, in place of --command"),
    )
}

fn arg(setting: &'static Setting, mode: Option<Mode>) -> Arg {
    let action = if setting.kind.repeats() { ArgAction::Append } else { ArgAction::Set };
    let mut arg = Arg::new(setting.flag)
        .long(setting.flag)
        .action(action)
        .value_name(setting.kind.placeholder())
        .help(setting.help)
        .allow_hyphen_values(matches!(
            setting.kind,
            Kind::Secret | Kind::Header | Kind::Headers | Kind::Words
        ))
        .hide(mode.is_some_and(|mode| !setting.scope.covers(mode, true)));
    if let Some(alias) = setting.alias {
        arg = arg.visible_alias(alias);
    }
    arg
}

/// What clap has to say, without any value that was typed: it may be a secret.
fn stop(error: &clap::Error) -> Stop {
    let text = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => return Stop::Show(error.to_string()),
        ErrorKind::UnknownArgument => {
            let argument = error.get(ContextKind::InvalidArg).map(ToString::to_string);
            match argument.filter(|argument| argument.starts_with("--")) {
                Some(flag) => match error.get(ContextKind::SuggestedArg) {
                    Some(nearest) => format!("{flag} is no flag; did you mean {nearest}?"),
                    None => format!("{flag} is no flag; mcpulse-proxy --help lists them"),
                },
                None => {
                    "there is a value without a flag before it; quote values that have spaces, \
                     and put the server's program after --"
                        .to_owned()
                }
            }
        }
        _ => {
            let text = error.to_string();
            text.strip_prefix("error: ").unwrap_or(&text).trim_end().to_owned()
        }
    };
    Stop::Refuse(Problem::usage(text))
}
