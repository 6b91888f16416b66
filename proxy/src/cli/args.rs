//! The command line as typed: sub-commands, and a flag for every setting of the table.

use std::ffi::OsString;

use clap::{
    Arg, ArgAction, ArgMatches, Command,
    error::{ContextKind, ErrorKind},
};
use serde_yaml::Value;

use super::{
    layer::{Given, Source},
    own, strays,
};
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
    /// What is to be done with such a proxy.
    pub purpose: Purpose,
    /// `--print-config`.
    pub print: bool,
    /// `--config`.
    pub config: Option<String>,
    /// `--server`.
    pub server: Option<String>,
    /// The flags without the value that they need: none of them is missing as well.
    pub valueless: Vec<String>,
    /// The settings.
    pub givens: Vec<Given>,
    /// What cannot be meant.
    pub problems: Vec<Problem>,
}

/// What is to be done with a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Run it.
    Serve,
    /// Say whether it would work.
    Check,
    /// Ask it, while it runs, to drain.
    Drain,
}

impl Purpose {
    /// That of the command with this name.
    fn named(name: &str) -> Self {
        match name {
            "check" => Self::Check,
            "drain" => Self::Drain,
            _ => Self::Serve,
        }
    }
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
    let mut problems = Vec::new();
    let text = |(place, word): (usize, OsString)| {
        word.into_string().unwrap_or_else(|word| {
            problems.push(Problem::usage(format!("argument {place} is not UTF-8")));
            word.to_string_lossy().into_owned()
        })
    };
    let mut words: Vec<String> = arguments.into_iter().enumerate().map(text).collect();
    let purpose = words.get(1).map_or(Purpose::Serve, |word| Purpose::named(word));
    let at = if purpose == Purpose::Serve { 1 } else { 2 };
    let mut valueless = Vec::new();
    if let Some(command) = words.get(at).filter(|word| is_command(word)).cloned() {
        let sifted = strays::sift(&command, at + 1, words.split_off(at + 1));
        words.extend(sifted.kept);
        problems.extend(sifted.problems);
        valueless = sifted.valueless;
    }
    let matches = command().try_get_matches_from(words).map_err(|error| stop(&error))?;
    let (mut name, mut matches) = matches.subcommand().unwrap_or(("", &matches));
    if purpose != Purpose::Serve {
        (name, matches) = matches.subcommand().unwrap_or(("", matches));
    }
    let mut own = |flag: &'static str| {
        let values: Vec<&String> = matches.get_many(flag).into_iter().flatten().collect();
        if values.len() > 1 {
            problems.push(Problem::usage(format!("--{flag} {TWICE}")));
        }
        values.last().map(ToString::to_string)
    };
    Ok(Typed {
        mode: Mode::named(name),
        purpose,
        print: matches.get_flag("print-config"),
        config: own("config"),
        server: own("server"),
        givens: givens(matches, &valueless),
        valueless,
        problems,
    })
}

fn is_command(word: &str) -> bool {
    word == "run" || Mode::named(word).is_some()
}

/// What is wrong with a flag that takes one value and was given several.
const TWICE: &str = "is given more than once; keep one";

fn givens(matches: &ArgMatches, valueless: &[String]) -> Vec<Given> {
    let typed = |setting: &'static Setting| {
        let mut values = matches.get_many::<String>(setting.flag)?;
        let value = match values.len() {
            _ if setting.kind.repeats() => setting.kind.parse_all(values.map(String::as_str)),
            1 => setting.kind.parse(values.next()?),
            _ => Err(TWICE.into()),
        };
        Some(of_flag(setting, value.map_err(|wrong| wrong.to_string())))
    };
    let without = |setting: &'static Setting| {
        let is_it = |flag: &String| setting.flag == flag || setting.alias == Some(flag);
        valueless.iter().any(is_it).then(|| {
            let flag = setting.flag;
            of_flag(setting, Err(strays::valueless(flag)))
        })
    };
    let mut givens: Vec<Given> = Setting::flagged()
        .filter_map(|setting| without(setting).or_else(|| typed(setting)))
        .collect();
    let program = matches.get_many::<String>("program");
    if let (Some(words), Some(setting)) = (program, Setting::with_flag("command")) {
        let source = Source::Flag("the program after --".to_owned());
        let value = Kind::command(words.cloned().collect());
        givens.push(Given { setting, value, source });
    }
    givens
}

fn of_flag(setting: &'static Setting, value: Result<Value, String>) -> Given {
    Given { setting, value, source: Source::Flag(format!("--{}", setting.flag)) }
}

/// The whole command line, for parsing and for help. A command's flags are made only when it
/// is used, since most of the time of a start would go into the others'.
pub(super) fn command() -> Command {
    let base = |name: &'static str, about: &'static str| {
        Command::new(name).about(about).subcommand_required(true).subcommands(
            [
                Command::new("stdio").about("Observe a server that is a program on this machine"),
                Command::new("http").about("Observe a remote server (streamable HTTP)"),
                Command::new("sse").about("Observe a remote server (HTTP+SSE of 2024-11-05)"),
                Command::new("run").about("Observe the servers that a YAML file describes"),
            ]
            .map(|command| command.defer(with_flags)),
        )
    };
    let check = "Say whether such a proxy would work: validate the settings, dial both ends";
    let drain = "Ask such a proxy, which runs here, to let no session begin and those in use go on";
    base(env!("CARGO_PKG_NAME"), "Reports every tool call of an MCP server, changes not one byte")
        .bin_name(env!("CARGO_PKG_NAME"))
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand(base("check", check))
        .subcommand(base("drain", drain))
}

fn with_flags(command: Command) -> Command {
    let mode = Mode::named(command.get_name());
    let defaults = setting::defaults();
    let settings = Setting::flagged().map(|setting| flag(setting, mode, &defaults));
    let own = own::ALL.iter().map(|own| {
        let arg = Arg::new(own.flag).long(own.flag).help(own.help);
        match own.placeholder {
            Some(placeholder) => arg.value_name(placeholder).action(ArgAction::Append),
            None => arg.action(ArgAction::SetTrue),
        }
    });
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
        .args(own)
        .mut_arg("server", |server| server.hide(mode.is_none()))
        .args(settings)
        .arg(program)
}

fn flag(setting: &'static Setting, mode: Option<Mode>, defaults: &Value) -> Arg {
    let help = match setting.default(defaults) {
        Some(default) => format!("{} [default: {default}]", setting.help),
        None => setting.help.to_owned(),
    };
    let arg = Arg::new(setting.flag)
        .long(setting.flag)
        // Also of those that may be given once: that is said together with all else.
        .action(ArgAction::Append)
        .value_name(setting.kind.placeholder())
        .help(help)
        .help_heading(setting.heading())
        .hide(mode.is_some_and(|mode| !setting.scope.covers(mode, true)));
    match setting.alias {
        Some(alias) => arg.visible_alias(alias),
        None => arg,
    }
}

/// What clap has to say of words before the flags, in a line and without any value that was
/// typed: it may be a secret.
fn stop(error: &clap::Error) -> Stop {
    let context = |kind| error.get(kind).map(ToString::to_string);
    let text = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => return Stop::Show(error.to_string()),
        ErrorKind::MissingSubcommand => {
            "the command is missing; write mcpulse-proxy stdio, http, sse, run, check or drain"
                .to_owned()
        }
        ErrorKind::InvalidSubcommand => match context(ContextKind::SuggestedSubcommand) {
            Some(nearest) => format!("there is no such command; did you mean {nearest}?"),
            None => "there is no such command; mcpulse-proxy --help lists them".to_owned(),
        },
        _ => "the command line begins with something else than a command; write mcpulse-proxy \
              stdio, http, sse, run, check or drain first, then the flags"
            .to_owned(),
    };
    Stop::Refuse(Problem::usage(text))
}
