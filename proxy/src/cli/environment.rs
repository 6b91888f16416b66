//! The variables of the process, read once, and what they say about the settings.

use std::{collections::BTreeMap, path::PathBuf};

use super::layer::{Given, Source};
use crate::config::{
    kind::Kind,
    setting::{ALL, Setting},
};

/// What the process inherited.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// Its variables. Those that are not UTF-8 are none of ours.
    pub variables: BTreeMap<String, String>,
    /// The program that runs.
    pub program: Option<PathBuf>,
}

impl Environment {
    /// Of this process.
    pub fn of_process() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self {
            variables: std::env::vars_os().filter_map(text).collect(),
            program: std::env::current_exe().ok(),
        }
    }

    /// The value of a variable; an empty one counts as unset.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// What the variables say, one given for every setting that one of them names.
    pub(super) fn givens(&self) -> Vec<Given> {
        let flagged = ALL.iter().filter(|setting| !setting.flag.is_empty());
        flagged.filter_map(|setting| self.given(setting)).collect()
    }

    fn given(&self, setting: &'static Setting) -> Option<Given> {
        let own = setting.variable();
        let names = std::iter::once(own.as_str()).chain(setting.variables.iter().copied());
        let (name, text) = names
            .filter(|name| self.otel_applies(name))
            .find_map(|name| Some((name, self.get(name)?)))?;
        let value = kind_in(setting, name).parse(text);
        Some(Given { setting, value, source: Source::Variable(name.to_owned()) })
    }

    /// Standard variables that others take away again.
    fn otel_applies(&self, name: &str) -> bool {
        let is = |name: &str, value: &str| self.get(name).is_some_and(|text| text == value);
        if name == "OTEL_TRACES_SAMPLER_ARG" {
            return self.get("OTEL_TRACES_SAMPLER").is_some_and(|name| name.ends_with("ratio"));
        }
        let off = is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none");
        !(name.starts_with("OTEL_") && name.ends_with("_ENDPOINT") && off)
    }
}

/// OpenTelemetry's own variables give time spans in milliseconds.
fn kind_in(setting: &Setting, variable: &str) -> Kind {
    match setting.kind {
        Kind::Duration if variable.starts_with("OTEL_") => Kind::Millis,
        kind => kind,
    }
}
