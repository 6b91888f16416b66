//! What starts the server: the shim before its command, or another port told to it.

use serde_json::{Value, json};

use super::{app::App, edits::Edits, pod::list, port::Plan, skip::Skip};
use crate::crd::{Injection, injection::PortMode};

/// Puts the shim before the command of a server on standard streams.
pub(super) fn wrap(
    app: &App<'_>,
    injection: &Injection,
    edits: &mut Edits<'_>,
) -> Result<(), Skip> {
    if injection.command.is_empty() {
        return Ok(());
    }
    let own = list(app.container, "command");
    if own.is_empty() && injection.argv.is_empty() {
        let image = app.container["image"].as_str().unwrap_or("IMAGE");
        return Err(Skip::CommandUnknown(format!(
            "container {} has no command, and what its image starts is not known here; write \
             what `crane config {image}` shows as Entrypoint (and Cmd) in \
             spec.transport.stdio.command",
            app.name()
        )));
    }
    let ours = injection.command.iter().map(|word| json!(word));
    let argv = injection.argv.iter().map(|word| json!(word));
    let command: Vec<Value> = match own {
        [] => ours.chain(argv).collect(),
        own => ours.chain(own.iter().cloned()).collect(),
    };
    edits.put(&app.path(&["command"]), command.into());
    Ok(())
}

/// Tells the server the port to which it moves.
pub(super) fn tell(
    app: &App<'_>,
    injection: &Injection,
    plan: &Plan,
    edits: &mut Edits<'_>,
) -> Result<(), Skip> {
    let Some(rule) = injection.port.as_ref().filter(|rule| rule.mode == PortMode::MovePort) else {
        return Ok(());
    };
    let (Some(before), Some(after)) = (plan.before, plan.app) else { return Ok(()) };
    let (before, after) = (before.to_string(), after.to_string());
    if let Some(name) = &rule.env {
        variable(app, name, &after, edits);
    }
    let Some(option) = &rule.arg else { return Ok(()) };
    let mut told = false;
    for key in ["command", "args"] {
        let words = list(app.container, key);
        let changed = moved(words, option, &before, &after);
        if changed != words {
            told = true;
            edits.replace(&app.path(&[key]), changed.into());
        }
    }
    if told {
        return Ok(());
    }
    Err(Skip::CommandUnknown(format!(
        "container {} has no option {option} with the value {before} in its command or args, by \
         which it could learn another port; write it there, or name a variable in \
         spec.transport.http.movePort.env",
        app.name()
    )))
}

/// Sets a variable, wherever it stands; a variable that stands twice is one all the same.
fn variable(app: &App<'_>, name: &str, value: &str, edits: &mut Edits<'_>) {
    let entry = json!({"name": name, "value": value});
    let mut set = false;
    for (place, one) in list(app.container, "env").iter().enumerate() {
        if one["name"] == name {
            set = true;
            edits.replace(&app.path(&["env", &place.to_string()]), entry.clone());
        }
    }
    if !set {
        edits.append(&app.path(&["env"]), entry);
    }
}

/// The words with another value of an option.
fn moved(words: &[Value], option: &str, before: &str, after: &str) -> Vec<Value> {
    let joined = |value: &str| format!("{option}={value}");
    let is_value = |place: usize| place > 0 && words[place - 1] == option;
    let words = words.iter().enumerate().map(|(place, word)| match word.as_str() {
        Some(text) if text == before && is_value(place) => json!(after),
        Some(text) if text == joined(before) => json!(joined(after)),
        _ => word.clone(),
    });
    words.collect()
}
