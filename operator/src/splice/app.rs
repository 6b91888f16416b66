//! The container that is the server.

use serde_json::Value;

use super::{
    MESH,
    pod::{list, name, number},
    skip::Skip,
};
use crate::crd::{Injection, injection::PortRule};

/// The container that is the server.
#[derive(Debug)]
pub(super) struct App<'a> {
    /// It.
    pub(super) container: &'a Value,
    /// Its place among the containers, as paths have it.
    place: String,
}

impl<'a> App<'a> {
    /// The container that is named, or declares the port, or is the only one that is no mesh's.
    pub(super) fn find(pod: &'a Value, injection: &Injection) -> Result<Self, Skip> {
        let containers = list(&pod["spec"], "containers");
        let at = |place: usize| Self { container: &containers[place], place: place.to_string() };
        if let Some(named) = &injection.container {
            let found = containers.iter().position(|one| name(one) == named);
            let missing = || Skip::NoMatchingContainer(format!("there is no container {named}"));
            return found.map(at).ok_or_else(missing);
        }
        let declares = |one: &Value, rule: &PortRule| declared(one, rule).is_some();
        let owners: Vec<usize> = (0..containers.len())
            .filter(|&place| {
                injection.port.as_ref().is_some_and(|rule| declares(&containers[place], rule))
            })
            .collect();
        let others: Vec<usize> = (0..containers.len())
            .filter(|&place| !MESH.contains(&name(&containers[place])))
            .collect();
        match (owners.as_slice(), others.as_slice(), &injection.port) {
            (&[owner], _, _) | (&[], &[owner], _) => Ok(at(owner)),
            (&[], _, Some(rule)) => Err(Skip::NoMatchingContainer(format!(
                "none of the pod's {} containers declares the port {}",
                containers.len(),
                called(rule)
            ))),
            (&[], others, None) => Err(Skip::NoMatchingContainer(format!(
                "any of {} containers could be the server",
                others.len()
            ))),
            (owners, _, _) => Err(Skip::NoMatchingContainer(format!(
                "{} containers declare the port",
                owners.len()
            ))),
        }
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        name(self.container)
    }

    /// The path of something in it.
    pub(super) fn path<'p>(&'p self, below: &[&'p str]) -> Vec<&'p str> {
        [&["spec", "containers", self.place.as_str()], below].concat()
    }

    /// The port that a rule is about, where it is declared, and its place.
    pub(super) fn port(&self, rule: &PortRule) -> Option<(usize, &'a Value)> {
        declared(self.container, rule)
    }
}

fn declared<'a>(container: &'a Value, rule: &PortRule) -> Option<(usize, &'a Value)> {
    let ports = list(container, "ports").iter().enumerate();
    ports.filter(|(_, port)| number(port).is_some()).find(|(_, port)| match &rule.name {
        Some(name) => port["name"] == name.as_str(),
        None => number(port) == rule.number,
    })
}

/// The port of a rule as its author wrote it.
pub(super) fn called(rule: &PortRule) -> String {
    match (&rule.name, rule.number) {
        (Some(name), _) => name.clone(),
        (None, number) => number.unwrap_or_default().to_string(),
    }
}
