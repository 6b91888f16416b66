//! The variables of the process, read once, and what they say about the settings.

use std::{collections::BTreeMap, path::PathBuf};

use super::{
    layer::{Given, Source},
    opentelemetry,
    own::{self, Own},
};
use crate::config::{
    Problem,
    kind::Kind,
    nearest::nearest,
    setting::{ALL, Setting},
};

/// The prefix of the variables that are only for the proxy.
const PREFIX: &str = "MCPULSE_PROXY_";

/// What the process inherited.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// Its variables. Those that are not UTF-8 are none of ours.
    pub variables: BTreeMap<String, String>,
    /// The program that runs.
    pub program: Option<PathBuf>,
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.variables.keys()).finish()
    }
}

impl Environment {
    /// Of this process.
    pub fn of_process() -> Self {
        let utf8 = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self {
            variables: std::env::vars_os().filter_map(utf8).collect(),
            program: std::env::current_exe().ok(),
        }
    }

    /// The value of a variable; an empty one counts as unset.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// `MCPULSE_PROXY_<FLAG>`, for flags that are no settings.
    pub(super) fn own(&self, flag: &str) -> Option<(String, Source)> {
        let name = own::variable(flag);
        Some((self.get(&name)?.to_owned(), Source::Variable(name)))
    }

    /// Whether `MCPULSE_PROXY_<FLAG>` of a flag without a value asks for it.
    pub(super) fn switch(&self, flag: &str, problems: &mut Vec<Problem>) -> bool {
        let name = own::variable(flag);
        match self.get(&name).map(|text| Kind::Switch.parse(text)) {
            Some(Err(wrong)) => {
                problems.push(Problem::configuration(format!("{name} {wrong}")));
                false
            }
            asked => asked == Some(Ok(true.into())),
        }
    }

    /// What the variables say, at most one given for a setting; and what is passed over.
    pub(super) fn givens(&self) -> (Vec<Given>, Vec<String>) {
        let mut notices = self.strangers();
        notices.extend(opentelemetry::notices(self));
        let mut givens = Vec::new();
        for given in Setting::flagged().filter_map(|setting| self.given(setting)) {
            match (&given.source, &given.value) {
                // Set for all programs of this machine: no reason for one of them to stop.
                (Source::Variable(name), Err(wrong)) if !name.starts_with("MCPULSE_") => {
                    notices.push(format!("{name} is passed over: it {wrong}"));
                }
                _ => givens.push(given),
            }
        }
        (givens, notices)
    }

    fn given(&self, setting: &'static Setting) -> Option<Given> {
        let own = setting.variable();
        let names = std::iter::once(own.as_str()).chain(setting.variables.iter().copied());
        let said = |name| Some((name, opentelemetry::text(name, setting.key, self)?));
        let (name, text) = names.into_iter().find_map(said)?;
        let kind = match setting.kind {
            Kind::Wait if name.starts_with("OTEL_") => Kind::Millis,
            kind => kind,
        };
        let value = kind.parse(text).map_err(|wrong| wrong.to_string());
        Some(Given { setting, value, source: Source::Variable(name.to_owned()) })
    }

    /// Variables with our prefix that mean nothing: misspelled ones.
    fn strangers(&self) -> Vec<String> {
        let settings = Setting::flagged().map(Setting::variable);
        let aliases = ALL.iter().flat_map(|setting| setting.variables).map(|&name| name.to_owned());
        let others = own::ALL.iter().map(Own::variable);
        let known: Vec<String> = settings.chain(aliases).chain(others).collect();
        let ours = self.variables.keys().filter(|name| name.starts_with(PREFIX));
        let rest = || known.iter().filter_map(|name| Some((name.strip_prefix(PREFIX)?, name)));
        ours.filter(|name| !known.contains(name))
            .map(|name| match nearest(&name[PREFIX.len()..], rest()) {
                Some(known) => format!("{name} is passed over: did you mean {known}?"),
                None => format!("{name} is passed over: no such setting"),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        let variables = variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
        Environment { variables: variables.collect(), program: None }
    }

    fn values(variables: &[(&str, &str)]) -> Vec<(&'static str, String)> {
        let (givens, notices) = environment(variables).givens();
        assert_eq!(notices, Vec::<String>::new());
        let text = |given: Given| {
            let value = serde_yaml::to_string(&given.value.unwrap()).unwrap();
            (given.setting.key, value.trim().to_owned())
        };
        givens.into_iter().map(text).collect()
    }

    #[test]
    fn the_first_variable_of_a_setting_that_is_set_counts() {
        let (url, server) = (("MCPULSE_URL", "a:1"), ("MCPULSE_SERVER", "b:2"));
        let own = ("MCPULSE_PROXY_MCPULSE_URL", "c:3");
        assert_eq!(values(&[server]), [("mcpulse.url", "b:2".to_owned())]);
        assert_eq!(values(&[server, url]), [("mcpulse.url", "a:1".to_owned())]);
        assert_eq!(values(&[server, url, own]), [("mcpulse.url", "c:3".to_owned())]);
        assert_eq!(values(&[server, ("MCPULSE_URL", "")]), [("mcpulse.url", "b:2".to_owned())]);
    }

    #[test]
    fn the_standard_variables_of_opentelemetry_count() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317");
        assert_eq!(
            values(&[
                endpoint,
                ("OTEL_EXPORTER_OTLP_HEADERS", "k=a%2Cb"),
                ("OTEL_EXPORTER_OTLP_TIMEOUT", "1500"),
                ("OTEL_SERVICE_NAME", "n"),
                ("OTEL_RESOURCE_ATTRIBUTES", "a=1,b=2"),
                ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
                ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
            ]),
            [
                ("otel.endpoint", "http://c:4317".to_owned()),
                ("otel.headers", "- name: k\n  value: a,b".to_owned()),
                ("otel.timeout", "1s 500ms".to_owned()),
                ("otel.serviceName", "n".to_owned()),
                ("otel.resourceAttributes", "a: '1'\nb: '2'".to_owned()),
                ("otel.sample", "0.25".to_owned()),
            ]
        );
        assert_eq!(values(&[endpoint, ("OTEL_SDK_DISABLED", "true")]), []);
        assert_eq!(values(&[("OTEL_TRACES_SAMPLER_ARG", "0.25")]), []);
        let off = ["otel.sample 0.0", "otel.followParent false", "otel.keepFailed false"];
        let said = values(&[("OTEL_TRACES_SAMPLER", "always_off")]).into_iter();
        let said: Vec<String> = said.map(|(key, value)| format!("{key} {value}")).collect();
        assert_eq!(said, off);
    }

    #[test]
    fn what_is_passed_over_is_said() {
        let stray = [
            ("MCPULSE_PROXY_SERVR_ID", "x"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
            ("SSL_CERT_FILE", "/no/such/file"),
        ];
        let (givens, notices) = environment(&stray).givens();
        assert!(givens.is_empty());
        let all = notices.join("\n");
        for part in ["MCPULSE_PROXY_SERVER_ID?", "OTEL_EXPORTER_OTLP_TIMEOUT", "/no/such/file"] {
            assert!(all.contains(part), "{all}");
        }
    }
}
