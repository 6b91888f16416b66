//! A list of servers: the settings of each entry by themselves, and those that all of them share.

use std::collections::BTreeMap;

use serde_yaml::{Mapping, Value};

use super::{
    Environment, demands,
    layer::{self, Given, Layers, Origins, Source},
    proxies,
};
use crate::config::{Config, Mode, Problem};

/// What begins the names of the proxy's own variables.
const OWN: &str = "MCPULSE_";

/// One server of a list.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Its mode; none when it does not say.
    pub(super) mode: Option<Mode>,
    /// Its settings.
    pub(super) givens: Vec<Given>,
    /// The file and the line where it begins.
    pub(super) place: String,
}

/// The whole configuration, and where its values came from; `givens` are those of flags, of
/// variables and of the file beside the list.
///
/// A flag or a variable of the proxy's own that is about a server would be about all of them,
/// and give the token of one to the others: a flag is refused, a variable passed over. What is
/// set for every program of the machine, as `SSL_CERT_FILE` is, holds for each of them.
///
/// # Errors
/// The problems found before, and those of the entries and of what they share.
pub(super) fn settle(
    entries: Vec<Entry>,
    givens: Vec<Given>,
    environment: &Environment,
    mut problems: Vec<Problem>,
) -> Result<(Config, Origins), Vec<Problem>> {
    let (of_servers, shared): (Vec<Given>, Vec<Given>) =
        givens.into_iter().partition(|given| given.setting.is_of_server());
    let mut of_all = Vec::new();
    for given in of_servers {
        match &given.source {
            Source::Variable(name) if !name.starts_with(OWN) => of_all.push(given),
            Source::Variable(_) => {}
            Source::Flag(_) | Source::File(..) => {
                let wrong = "does not apply to a list of servers; write it in the entry of one";
                problems.push(given.problem(wrong, Mode::Http));
            }
        }
    }
    let listens = layer::listens(&shared);
    let shared = Layers::new(Some(Mode::Http), listens, shared, &mut problems);
    problems.extend(demands::missing_beside_servers(|path| shared.has(path)));
    problems.extend(shared.contradictions());
    let mut ids = BTreeMap::new();
    let mut servers = Vec::new();
    for Entry { mode, mut givens, place } in entries {
        givens.extend(of_all.iter().cloned());
        givens.extend(proxies::given(environment, &givens));
        let entry = Layers::new(mode, true, givens, &mut problems);
        for (key, example) in demands::missing_in_entry(mode, |path| entry.has(path)) {
            let text = format!("{place}: {key} is missing in this entry; write e.g. {example}");
            problems.push(Problem::configuration(text));
        }
        problems.extend(entry.contradictions());
        if let Some(given) = entry.at("serverId")
            && let Ok(Value::String(id)) = &given.value
            && let Some(before) = ids.insert(id.clone(), given.source.to_string())
        {
            let wrong = format!("is that of {before} as well; give each server its own");
            problems.push(given.problem(&wrong, Mode::Http));
        }
        servers.push(entry);
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let (mut tree, mut origins) = shared.tree();
    let mut list = Vec::new();
    for (at, server) in servers.into_iter().enumerate() {
        let (server, of_server): (Mapping, Origins) = server.tree();
        list.push(Value::Mapping(server));
        origins.extend(of_server.into_iter().map(|(path, from)| (place(at, &path), from)));
    }
    tree.insert("servers".into(), Value::Sequence(list));
    Ok((layer::config(tree)?, origins))
}

/// The place of a setting of the entry with this index.
pub(super) fn place(at: usize, path: &str) -> String {
    format!("servers.{at}.{path}")
}

/// Checks that an id can stand in a URL as it is, for it is the path of its server.
pub(super) fn check_id(id: &str) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if id.bytes().all(plain) && id.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Ok(());
    }
    Err("is the path of its server, and so may have letters, digits, -, ., _ and ~ in it, and \
         begins with a letter or digit"
        .to_owned())
}
