//! How ports change hands: which number the server and the sidecar get, and what follows in the
//! server's container.

use serde_json::{Value, json};

use super::{
    app::{App, called},
    edits::Edits,
    pod::{containers, list, number},
    skip::Skip,
};
use crate::crd::{
    Injection,
    injection::{PortMode, PortRule},
};

/// The name of the sidecar's port where it takes over none.
const OWN: &str = "mcpulse";
/// Longest name of a port.
const LONGEST: usize = 15;

/// Which number the server and the sidecar get.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The number on which the server listens in the end.
    pub(super) app: Option<u16>,
    /// The number on which the sidecar listens.
    pub(super) listen: Option<u16>,
    /// The port that the sidecar declares besides those that are rendered.
    pub(super) own: Option<Value>,
    /// The number on which the server listens now.
    pub(super) before: Option<u16>,
    /// The place of the server's declared port, and what becomes of it.
    change: Option<Change>,
}

#[derive(Debug)]
struct Change {
    place: usize,
    /// The name now, and in the end.
    name: Option<(String, String)>,
}

/// Ports that the pod has already.
struct Taken<'a> {
    numbers: Vec<u16>,
    names: Vec<&'a str>,
}

impl<'a> Taken<'a> {
    /// Those of all containers, but for this one of them.
    fn of(pod: &'a Value, own: Option<&Value>) -> Self {
        let ports = containers(pod).flat_map(|one| list(one, "ports"));
        let (mut numbers, mut names) = (Vec::new(), Vec::new());
        for port in ports.filter(|port| !own.is_some_and(|own| std::ptr::eq(own, *port))) {
            numbers.extend(number(port));
            names.extend(port["name"].as_str());
        }
        Self { numbers, names }
    }

    fn name(&self, name: &str) -> Result<(), Skip> {
        if self.names.contains(&name) {
            let text =
                format!("the port name {name}, which the sidecar needs, is taken; rename it");
            return Err(Skip::PortCollision(text));
        }
        Ok(())
    }
}

/// Decides about the ports.
pub(super) fn plan(pod: &Value, app: &App<'_>, injection: &Injection) -> Result<Plan, Skip> {
    let rule = injection.port.as_ref();
    let declared = rule.and_then(|rule| app.port(rule));
    let before = match (rule, declared) {
        (Some(rule), None) => Some(undeclared(app, rule)?),
        (Some(_), Some((_, port))) => number(port),
        (None, _) => None,
    };
    let name = declared.and_then(|(_, port)| port["name"].as_str());
    if let (Some(rule), None) = (rule.filter(|rule| rule.mode == PortMode::NamedPort), name) {
        return Err(not_found(app, rule, " with a name, which is what NamedPort takes over"));
    }
    let all = Taken::of(pod, None);
    let taken = Taken::of(pod, declared.map(|(_, port)| port));
    let rendered = list(&injection.sidecar, "ports");
    for port in rendered {
        let ours = number(port);
        if ours == before || all.numbers.iter().any(|&number| Some(number) == ours) {
            return Err(Skip::PortCollision(format!(
                "port {} is taken, and the sidecar needs it; write another number in \
                 spec.telemetry.prometheus.port or spec.transport.stdio.listenPort",
                ours.unwrap_or_default()
            )));
        }
        all.name(port["name"].as_str().unwrap_or_default())?;
    }
    let Some(rule) = rule else { return Ok(Plan::default()) };
    let free = || {
        let free = injection.ports.iter().copied().find(|&number| {
            Some(number) != before
                && !all.numbers.contains(&number)
                && !rendered.iter().any(|port| self::number(port) == Some(number))
        });
        let text = "every number that the sidecar could take for a port is taken (19480 to 19495); \
                    free one of them";
        free.ok_or_else(|| Skip::PortCollision(text.to_owned()))
    };
    let passed_on = || -> Result<Option<Change>, Skip> {
        let Some((place, _)) = declared else { return Ok(None) };
        let Some(name) = name else { return Ok(Some(Change { place, name: None })) };
        let after = renamed(name);
        taken.name(name)?;
        // A name that ends in -app may be its own.
        all.name(&after)?;
        Ok(Some(Change { place, name: Some((name.to_owned(), after)) }))
    };
    let own = |name: Option<&str>, number: Option<u16>| {
        let mut port = json!({"containerPort": number, "protocol": "TCP"});
        if let Some(name) = name {
            port["name"] = name.into();
        }
        Some(port)
    };
    Ok(match rule.mode {
        PortMode::NamedPort => {
            let change = passed_on()?;
            let listen = Some(free()?);
            Plan { app: before, listen, own: own(name, listen), before, change }
        }
        PortMode::MovePort => {
            if let Some(number) = before.filter(|number| taken.numbers.contains(number)) {
                return Err(Skip::PortCollision(format!(
                    "port {number} is declared by another container as well; only one of them \
                     can be the server's; correct the other"
                )));
            }
            let change = passed_on()?;
            Plan { app: Some(free()?), listen: before, own: own(name, before), before, change }
        }
        PortMode::PodIp => Plan { app: before, listen: before, before, ..Plan::default() },
        PortMode::None => {
            all.name(OWN)?;
            let listen = Some(free()?);
            Plan { app: before, listen, own: own(Some(OWN), listen), before, ..Plan::default() }
        }
    })
}

/// The number of a port that no container declares, which is no more than information.
fn undeclared(app: &App<'_>, rule: &PortRule) -> Result<u16, Skip> {
    rule.number.ok_or_else(|| not_found(app, rule, ""))
}

fn not_found(app: &App<'_>, rule: &PortRule, why: &'static str) -> Skip {
    Skip::PortNotFound { container: app.name().to_owned(), port: called(rule), why }
}

/// The name that the server's port keeps when the sidecar gets its own.
fn renamed(name: &str) -> String {
    const SUFFIX: &str = "-app";
    let kept: String = name.chars().take(LONGEST - SUFFIX.len()).collect();
    format!("{}{SUFFIX}", kept.trim_end_matches('-'))
}

/// Writes what follows in the server's container: its declared port, probes and hooks.
pub(super) fn edit(app: &App<'_>, plan: &Plan, edits: &mut Edits<'_>) {
    let moved = plan.before != plan.app;
    if let Some(change) = &plan.change {
        let place = change.place.to_string();
        if let Some((_, after)) = &change.name {
            edits.replace(&app.path(&["ports", &place, "name"]), json!(after));
        }
        if moved {
            edits.replace(&app.path(&["ports", &place, "containerPort"]), json!(plan.app));
        }
    }
    let name = plan.change.as_ref().and_then(|change| change.name.as_ref());
    let follows = |port: &Value| {
        name.is_some_and(|(before, _)| port == before.as_str())
            || (moved && plan.before.is_some_and(|before| *port == before))
    };
    for (section, kind) in [
        ("startupProbe", ""),
        ("readinessProbe", ""),
        ("livenessProbe", ""),
        ("lifecycle", "postStart"),
        ("lifecycle", "preStop"),
    ] {
        for action in ["httpGet", "tcpSocket", "grpc"] {
            let below: Vec<&str> =
                [section, kind, action].into_iter().filter(|part| !part.is_empty()).collect();
            let port = below.iter().fold(app.container, |value, key| &value[key]);
            if follows(&port["port"]) {
                edits.replace(&app.path(&[&below[..], &["port"]].concat()), json!(plan.app));
            }
        }
    }
}
