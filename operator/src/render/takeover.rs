//! By which rule the sidecar comes between clients and the port of a server that listens.

use k8s_openapi::{
    api::core::v1::{Service, ServicePort},
    apimachinery::pkg::util::intstr::IntOrString,
};

use crate::{
    crd::{
        Finding,
        condition::{ConditionType, Reason},
        injection::{PortMode, PortRule},
        transport::{Http, PortRef, Takeover},
    },
    target::Target,
    version::Version,
};

/// The first number tried for a port that a pod does not have yet.
pub(super) const FIRST_CANDIDATE: u16 = 19480;
/// How many are tried.
const CANDIDATES: u16 = 16;

/// Numbers for a port that a pod does not have yet.
pub(super) fn candidates(mode: PortMode) -> Vec<u16> {
    match mode {
        PortMode::PodIp => Vec::new(),
        _ => (FIRST_CANDIDATE..FIRST_CANDIDATE + CANDIDATES).collect(),
    }
}

/// The rule for a server, as its Services and Kubernetes allow it.
///
/// # Errors
/// A Service that leads past the sidecar, or would lead nowhere, and what to do about it.
pub(super) fn rule(
    http: &Http,
    target: &Target,
    services: &[Service],
    kubernetes: Version,
) -> Result<PortRule, Finding> {
    if !kubernetes.finds_sidecars()
        && let Some(finding) = unfound(http, target, services)
    {
        return Err(finding);
    }
    let mode = match http.takeover {
        Takeover::Auto => match services.iter().find_map(|service| past(http, target, service)) {
            None => PortMode::NamedPort,
            Some((service, number)) => return Err(numeric(http, service, number)),
        },
        Takeover::NamedPort => PortMode::NamedPort,
        Takeover::MovePort => PortMode::MovePort,
        Takeover::PodIp => PortMode::PodIp,
        Takeover::None => PortMode::None,
    };
    let (name, number) = match &http.port {
        PortRef::Name(name) => (Some(name.clone()), None),
        PortRef::Number(number) => (None, Some(*number)),
    };
    let told = http.move_port.clone().filter(|_| mode == PortMode::MovePort).unwrap_or_default();
    Ok(PortRule { mode, name, number, env: told.env, arg: told.arg })
}

/// The name of a Service that leads to the port by its number, and that number. A Service that
/// has the name as well leads to other ports by number.
fn past<'a>(http: &Http, target: &Target, service: &'a Service) -> Option<(&'a str, u16)> {
    let spec = service.spec.as_ref()?;
    if !target.is_behind(spec.selector.as_ref()?) {
        return None;
    }
    let ports = spec.ports.as_deref().unwrap_or_default();
    let numbers = || ports.iter().filter_map(number);
    let led = match &http.port {
        PortRef::Number(port) => numbers().find(|number| number == port),
        PortRef::Name(name) => {
            let named = ports.iter().any(|port| {
                matches!(&port.target_port, Some(IntOrString::String(target)) if target == name)
            });
            numbers().next().filter(|_| !named)
        }
    };
    Some((service.metadata.name.as_deref().unwrap_or("without a name"), led?))
}

/// The number that a Service's port leads to; its own unless it says otherwise.
fn number(port: &ServicePort) -> Option<u16> {
    match &port.target_port {
        None => u16::try_from(port.port).ok(),
        Some(IntOrString::Int(number)) => u16::try_from(*number).ok(),
        Some(IntOrString::String(_)) => None,
    }
}

/// What is wrong with a takeover where Services do not find sidecars by the names of their ports.
fn unfound(http: &Http, target: &Target, services: &[Service]) -> Option<Finding> {
    let why = match http.takeover {
        Takeover::PodIp | Takeover::None => return None,
        Takeover::Auto | Takeover::NamedPort => "is what takeover: NamedPort needs".to_owned(),
        Takeover::MovePort => {
            let service = services.iter().find(|service| leads_by_name(http, target, service))?;
            let name = service.metadata.name.as_deref().unwrap_or("without a name");
            format!("is what Service {name} needs")
        }
    };
    let message = format!(
        "that Services find a sidecar by the name of its port comes with Kubernetes 1.33 and {why}, \
         so nothing is injected; write takeover: PodIP in transport.http if the server listens on \
         127.0.0.1 only, or else takeover: MovePort with movePort.env (a variable such as PORT) or \
         movePort.arg (an option such as --port), by which the server learns to listen on another \
         port, and the port's number as targetPort in Services"
    );
    Some(Finding::new(ConditionType::TargetsResolved, Reason::NamedPortUnsupported, message))
}

/// Whether a Service leads to the port by its name; to any, where only the number is known.
fn leads_by_name(http: &Http, target: &Target, service: &Service) -> bool {
    let Some(spec) = &service.spec else { return false };
    let meant = |target_port: &Option<IntOrString>| match (target_port, &http.port) {
        (Some(IntOrString::String(target)), PortRef::Name(name)) => target == name,
        (Some(IntOrString::String(_)), PortRef::Number(_)) => true,
        _ => false,
    };
    let selected = spec.selector.as_ref().is_some_and(|selector| target.is_behind(selector));
    selected && spec.ports.iter().flatten().any(|port| meant(&port.target_port))
}

fn numeric(http: &Http, service: &str, number: u16) -> Finding {
    let name = match &http.port {
        PortRef::Name(name) => name.clone(),
        PortRef::Number(_) => PortRef::default().to_string(),
    };
    let message = format!(
        "Service {service} leads to port {number} by its number, past the sidecar, so nothing is \
         injected; either give the container's port a name and write targetPort: {name} in the \
         Service, or write transport.http.takeover: MovePort with movePort.env (a variable such \
         as PORT) or movePort.arg (an option such as --port), by which the server learns to \
         listen on another port"
    );
    Finding::new(ConditionType::TargetsResolved, Reason::NumericTargetPort, message)
}
