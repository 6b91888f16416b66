//! Every setting of the table: its flag wins over its variables, they win over the file, and
//! where it means nothing the variables are ignored and the flag is an error.

use serde_yaml::{Mapping, Value};

use super::*;
use crate::config::{Mode, kind::Kind, setting::ALL};

/// Three values of the kind, the second unlike the two others.
fn samples(kind: Kind, files: &Files) -> [String; 3] {
    let three = |text: &dyn Fn(u64) -> String| [1, 2, 3].map(text);
    match kind {
        Kind::Text(_) | Kind::Hosts | Kind::Secret | Kind::Words => three(&|n| format!("v{n}")),
        Kind::Path | Kind::NewDirectory => three(&|n| format!("/no/such/v{n}")),
        Kind::Level => ["debug", "warn", "error"].map(str::to_owned),
        Kind::Pem(_) => three(&|n| files.text(&format!("pem{n}"))),
        Kind::SecretFile => three(&|n| files.text(&format!("file{n}"))),
        Kind::Directory => ["/", "/proc", "/tmp"].map(str::to_owned),
        Kind::Url | Kind::Origin | Kind::Origins | Kind::Collector => {
            three(&|n| format!("https://v{n}.example"))
        }
        Kind::Proxy => three(&|n| format!("http://v{n}.example:3128")),
        Kind::Endpoint => three(&|n| format!("v{n}.example:1")),
        Kind::Address => three(&|n| format!(":{n}")),
        Kind::Size(least) => three(&|n| (least + n).to_string()),
        Kind::Duration | Kind::Wait | Kind::Millis => three(&|n| format!("{n}s")),
        Kind::Count(least, _) => three(&|n| (least + 100 + n).to_string()),
        Kind::Share => three(&|n| format!("0.{n}")),
        Kind::Switch => ["true", "false", "true"].map(str::to_owned),
        Kind::OneOf(words) => [words[1], words[0], words[1]].map(str::to_owned),
        Kind::Header => three(&|n| format!("A: v{n}, w")),
        Kind::Headers => three(&|n| format!("A:v{n}")),
        Kind::HeaderPairs | Kind::Pairs => three(&|n| format!("a=v{n}")),
        Kind::Args | Kind::Variables => unreachable!("they have no flag"),
    }
}

/// The files that the samples name.
fn named() -> Files {
    let pem = "-----BEGIN CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\n";
    Files::new(&[
        ("file1", "f1"),
        ("file2", "f2"),
        ("file3", "f3"),
        ("pem1", pem),
        ("pem2", pem),
        ("pem3", pem),
    ])
}

/// A file for this mode in which the setting has this value.
fn file(setting: &Setting, mode: Mode, text: &str, files: &Files) -> String {
    let mut tree = Mapping::new();
    let mut place = |path: &str, value: Value| layer::place(&mut tree, path, value);
    place("serverId", "x".into());
    match mode {
        Mode::Stdio => place("upstream.stdio.program", "p".into()),
        Mode::Http | Mode::Sse => {
            place(&format!("upstream.{}.url", mode.name()), "https://a.example".into());
            place("listen.address", ":9".into());
        }
    }
    if setting.key.starts_with("listen.tls") {
        place("listen.tls.cert", files.text("pem1").into());
        place("listen.tls.key", files.text("pem1").into());
    }
    let value = match setting.kind.parse(text).unwrap() {
        Value::Sequence(words) if setting.kind == Kind::Words => words[0].clone(),
        value => value,
    };
    place(&setting.path(mode), value);
    std::fs::write(files.path("p.yaml"), serde_yaml::to_string(&tree).unwrap()).unwrap();
    format!("mcpulse-proxy run --config {}", files.text("p.yaml"))
}

#[test]
fn flags_win_over_variables_and_variables_over_files_for_every_setting() {
    let files = named();
    for (setting, mode) in every(covers) {
        let [first, second, third] = samples(setting.kind, &files);
        let variable = setting.variable();
        let [of_first, of_second, of_third] =
            [&first, &second, &third].map(|text| config(&file(setting, mode, text, &files), &[]));
        assert!(of_first != of_second && of_second != of_third, "--{}", setting.flag);

        let run = file(setting, mode, &third, &files);
        assert_eq!(config(&run, &[]), of_third);
        let variables = [(variable.as_str(), second.as_str())];
        assert_eq!(config(&run, &variables), of_second, "{variable}");
        for flag in [Some(setting.flag), setting.alias].into_iter().flatten() {
            let line = format!("{run} --{flag} {}", shlex::try_quote(&first).unwrap());
            assert_eq!(config(&line, &variables), of_first, "--{flag}");
        }
        // These have a form of their own, and tests of their own.
        let plain = |name: &&&str| !name.starts_with("OTEL_TRACES_") && !name.ends_with("TIMEOUT");
        for name in setting.variables.iter().filter(plain) {
            let variable = [(*name, second.as_str())];
            let both = [(*name, first.as_str()), variables[0]];
            if is_shared(name) {
                let at = |config: Config| {
                    let tree = serde_yaml::to_value(config).unwrap();
                    setting.path(mode).split('.').fold(tree, |tree, key| tree[key].clone())
                };
                assert_eq!(at(config(&run, &variable)), at(of_second.clone()), "{name}");
                assert_eq!(at(config(&run, &both)), at(of_second.clone()), "{name}");
            } else {
                assert_eq!(config(&run, &variable), of_second, "{name}");
                assert_eq!(config(&run, &both), of_second, "{name}");
            }
        }
    }
}

#[test]
fn what_does_not_apply_is_ignored_as_a_variable_and_refused_as_a_flag() {
    let files = named();
    let mut found = 0;
    for (setting, mode) in every(|setting, mode| !covers(setting, mode)) {
        found += 1;
        let line = match mode {
            Mode::Stdio => "mcpulse-proxy stdio --server-id x --command p".to_owned(),
            mode => format!(
                "mcpulse-proxy {} --server-id x --remote-url https://a --listen :1",
                mode.name()
            ),
        };
        let plain = config(&line, &[]);
        let own = setting.variable();
        let others = setting.variables.iter().copied().filter(|name| !is_shared(name));
        for name in std::iter::once(own.as_str()).chain(others) {
            for text in ["nonsense\u{7f}", &samples(setting.kind, &files)[0]] {
                assert_eq!(config(&line, &[(name, text)]), plain, "{name}");
            }
        }
        let value = &samples(setting.kind, &files)[0];
        let value = shlex::try_quote(value).unwrap();
        let (usage, text) = refused(&format!("{line} --{} {value}", setting.flag), &[]);
        let part = format!("--{} does not apply to {}", setting.flag, mode.name());
        assert!(usage && text.starts_with(&part), "{text}");
    }
    assert!(found > 20, "{found}");
}

/// Whether the variable says something about other settings too.
fn is_shared(name: &str) -> bool {
    ALL.iter().filter(|setting| setting.variables.contains(&name)).count() > 1
}

/// Whether it means something in this mode, with a listener where there can be one.
fn covers(setting: &Setting, mode: Mode) -> bool {
    setting.scope.covers(mode, mode != Mode::Stdio)
}

/// The pairs of settings that have flags and modes, but for `--listen` with stdio: that needs
/// a bridge.
fn every(wanted: impl Fn(&Setting, Mode) -> bool) -> Vec<(&'static Setting, Mode)> {
    let pairs = Setting::flagged().flat_map(|setting| Mode::ALL.map(|mode| (setting, mode)));
    pairs
        .filter(|&(setting, mode)| wanted(setting, mode))
        .filter(|&(setting, mode)| (setting.flag, mode) != ("listen", Mode::Stdio))
        .collect()
}
