//! README's table of flags and the example file say what there is.

use std::{collections::BTreeSet, fmt::Write, path::Path};

use super::*;
use crate::config::setting::{ALL, defaults};

fn file(path: &str) -> (PathBuf, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let text = std::fs::read_to_string(&path).unwrap();
    (path, text)
}

fn table() -> String {
    let mut table =
        "| flag | variables | key in YAML | default | meaning |\n|---|---|---|---|---|\n"
            .to_owned();
    let defaults = defaults();
    for own in &own::ALL {
        let placeholder = own.placeholder.map(|name| format!(" {name}")).unwrap_or_default();
        let variable = own.variable();
        writeln!(table, "| `--{}{placeholder}` | `{variable}` |  |  | {} |", own.flag, own.help)
            .unwrap();
    }
    for setting in Setting::flagged() {
        let alias = setting.alias.map(|alias| format!(", `--{alias}`")).unwrap_or_default();
        let own = setting.variable();
        let variables = std::iter::once(own.as_str()).chain(setting.variables.iter().copied());
        let variables: Vec<String> = variables.map(|name| format!("`{name}`")).collect();
        writeln!(
            table,
            "| `--{} {}`{alias} | {} | `{}` | {} | {} |",
            setting.flag,
            setting.kind.placeholder().replace('|', "\\|"),
            variables.join(", "),
            setting.key.replace('$', "*"),
            setting.default(&defaults).map(|default| format!("`{default}`")).unwrap_or_default(),
            setting.help,
        )
        .unwrap();
    }
    table
}

#[test]
fn the_table_of_flags_is_the_one_in_readme() {
    let (path, readme) = file("../README.md");
    let start = readme.find("| flag | variables |").expect("README has the table of flags");
    let end = readme[start..].find("\n\n").map_or(readme.len(), |end| start + end + 1);
    let expected = table();
    if std::env::var_os("MCPULSE_BLESS").is_some() {
        let blessed = format!("{}{expected}{}", &readme[..start], &readme[end..]);
        std::fs::write(&path, blessed).unwrap();
    } else {
        assert!(readme[start..end] == expected, "MCPULSE_BLESS=1 writes README's table of flags");
    }
}

/// The flags of a command as clap has them, aliases included.
fn flags(command: &clap::Command) -> BTreeSet<String> {
    let longs = command.get_arguments().filter_map(clap::Arg::get_long_and_visible_aliases);
    longs.flatten().map(str::to_owned).collect()
}

#[test]
fn clap_has_the_flags_of_the_table_and_no_others() {
    let settings = Setting::flagged().flat_map(|setting| [Some(setting.flag), setting.alias]);
    let own = own::ALL.iter().map(|own| own.flag);
    let known = settings.flatten().chain(own).chain(["help"]).map(str::to_owned);
    let known: BTreeSet<String> = known.collect();
    let mut command = args::command();
    command.build();
    let of = |name| command.find_subcommand(name).unwrap().get_subcommands();
    let mut compared = 0;
    for command in command.get_subcommands().chain(of("check")).chain(of("drain")) {
        if !["check", "drain", "help"].contains(&command.get_name()) {
            assert_eq!(flags(command), known, "{}", command.get_name());
            compared += 1;
        }
    }
    assert_eq!(compared, 12);
}

#[test]
fn the_example_file_has_every_key_and_says_the_defaults() {
    let (path, text) = file("mcpulse-proxy.example.yaml");
    let run = format!("mcpulse-proxy run --config {}", path.display());
    let mut plain =
        Config::new("my-server", Upstream::Http(Remote::new("https://api.example.com/mcp")));
    plain.listen = Some(Listen::new("127.0.0.1:8080"));
    assert_eq!(config(&run, &[]), plain);
    for setting in ALL {
        let key = setting.key.rsplit('.').next().unwrap();
        assert!(text.contains(&format!("{key}:")), "the example lacks {}", setting.key);
    }
}
