//! The command line as typed: sub-commands, and a flag for every setting of the table.

use std::ffi::OsString;

use clap::{
    Arg, ArgAction, ArgMatches, Command,
    error::{ContextKind, ErrorKind},
};
use serde_yaml::Value;

use super::layer::{Given, Source};
use crate::config::{
    Mode, Problem,
    kind::Kind,
    setting::{self, Setting},
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
    let typed = |setting: &'static Setting| {
        let mut values =
            matches.get_many::<String>(setting.flag)?.map(|text| setting.kind.parse(text));
        let value = if setting.kind.repeats() { joined(values) } else { values.next_back()? };
        Some(Given { setting, value, source: Source::Flag(format!("--{}", setting.flag)) })
    };
    let mut givens: Vec<Given> = Setting::flagged().filter_map(typed).collect();
    let program = matches.get_many::<String>("program");
    let program = program.map(|words| words.map(|word| Value::from(word.as_str())).collect());
    if let (Some(words), Some(setting)) = (program, Setting::with_flag("command")) {
        let source = Source::Flag("the program after --".to_owned());
        givens.push(Given { setting, value: Ok(Value::Sequence(words)), source });
    }
    givens
}

/// One list of all values of a flag that was given more than once.
fn joined(values: impl Iterator<Item = Result<Value, String>>) -> Result<Value, String> {
    let mut all = Vec::new();
    for value in values {
        if let Value::Sequence(list) = value? {
            all.extend(list);
        }
    }
    Ok(Value::Sequence(all))
}

/// The whole command line, for parsing and for help. A command's flags are made only when it
/// is used, since most of the time of a start would go into the others'.
fn command() -> Command {
    let base = |name: &'static str, about: &'static str| {
        Command::new(name)
            .about(about)
            .subcommand_required(true)
            .disable_help_subcommand(true)
            .subcommands(
                [
                    Command::new("stdio")
                        .about("Observe a server that is a program on this machine"),
                    Command::new("http").about("Observe a remote server (streamable HTTP)"),
                    Command::new("sse").about("Observe a remote server (HTTP+SSE of 2024-11-05)"),
                    Command::new("run").about("Observe the server that a YAML file describes"),
                ]
                .map(|command| command.defer(with_flags)),
            )
    };
    let check = "Say whether such a proxy would work: validate the settings, dial both ends";
    base(env!("CARGO_PKG_NAME"), "Reports every tool call of an MCP server, changes not one byte")
        .bin_name(env!("CARGO_PKG_NAME"))
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand(base("check", check))
}

fn with_flags(command: Command) -> Command {
    let mode = Mode::named(command.get_name());
    let defaults = setting::defaults();
    let settings = Setting::flagged().map(|setting| flag(setting, mode, &defaults));
    let file = if mode.is_some() { "mcp.json to take the server from" } else { "YAML file" };
    let config = Arg::new("config").long("config").value_name("FILE").help(file);
    let server = Arg::new("server")
        .long("server")
        .value_name("NAME")
        .help("Server in mcp.json; also the server id unless that is given")
        .hide(mode.is_none());
    let print = Arg::new("print-config")
        .long("print-config")
        .action(ArgAction::SetTrue)
        .help("Show the effective configuration and where it comes from, and end");
    let program = Arg::new("program")
        .last(true)
        .num_args(1..)
        .value_name("PROGRAM")
        .help("The server's program and arguments, in place of --command")
        .hide(mode != Some(Mode::Stdio));
    command
        .after_help(
            "Each flag has a variable: --server-id is MCPULSE_PROXY_SERVER_ID. \
             Flags win over variables, variables over files.",
        )
        .args([config, server, print])
        .args(settings)
        .arg(program)
}

fn flag(setting: &'static Setting, mode: Option<Mode>, defaults: &Value) -> Arg {
    let action = if setting.kind.repeats() { ArgAction::Append } else { ArgAction::Set };
    // A word that begins with a dash may be meant as the value of these.
    let free = matches!(setting.kind, Kind::Secret | Kind::Header | Kind::Headers);
    let help = match setting.default(defaults) {
        Some(default) => format!("{} [default: {default}]", setting.help),
        None => setting.help.to_owned(),
    };
    let arg = Arg::new(setting.flag)
        .long(setting.flag)
        .action(action)
        .value_name(setting.kind.placeholder())
        .help(help)
        .help_heading(setting.heading())
        .allow_hyphen_values(free)
        .hide(mode.is_some_and(|mode| !setting.scope.covers(mode, true)));
    match setting.alias {
        Some(alias) => arg.visible_alias(alias),
        None => arg,
    }
}

/// What clap has to say, in a line and without any value that was typed: it may be a secret.
fn stop(error: &clap::Error) -> Stop {
    let context = |kind| error.get(kind).map(ToString::to_string);
    let meant = |kind| match context(kind) {
        Some(nearest) => format!("did you mean {nearest}?"),
        None => "mcpulse-proxy --help lists them".to_owned(),
    };
    let text = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => return Stop::Show(error.to_string()),
        ErrorKind::MissingSubcommand => {
            "the command is missing; write mcpulse-proxy stdio, http, sse, run or check".to_owned()
        }
        ErrorKind::InvalidSubcommand => {
            format!("there is no such command; {}", meant(ContextKind::SuggestedSubcommand))
        }
        ErrorKind::UnknownArgument => match context(ContextKind::InvalidArg) {
            Some(flag) if flag.starts_with("--") => {
                format!("there is no flag {flag}; {}", meant(ContextKind::SuggestedArg))
            }
            _ => "there is a value without a flag before it; quote values that have spaces, and \
                  write the server's program after --"
                .to_owned(),
        },
        ErrorKind::ArgumentConflict => match context(ContextKind::InvalidArg) {
            Some(flag) => format!("{flag} is given more than once; keep one"),
            None => "a flag is given more than once; keep one".to_owned(),
        },
        ErrorKind::InvalidUtf8 => "an argument is not UTF-8".to_owned(),
        _ => match context(ContextKind::InvalidArg) {
            Some(flag) => format!("{flag} needs a value, or takes none"),
            None => "the command line cannot be read".to_owned(),
        },
    };
    Stop::Refuse(Problem::usage(text))
}
