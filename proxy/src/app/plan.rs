//! What becomes of each server when one configuration takes the place of another, and what of the
//! rest has to wait for another start. Nothing is done here.

use std::{collections::BTreeMap, sync::Arc};

use serde_yaml::Value;

use crate::{
    config::{Config, Mode, Served, Server, setting::ALL},
    relay::router::Segment,
};

/// The servers by where clients find them.
pub(super) type Placed = BTreeMap<Segment, Server>;

/// The servers of a configuration: one has all paths, those of a list have their ids.
pub(super) fn placed(served: &Served) -> Placed {
    let segment = |server: &Server| match served {
        Served::One(_) => None,
        Served::Several { .. } => Some(Arc::from(&*server.server_id)),
    };
    served.all().iter().map(|server| (segment(server), server.clone())).collect()
}

/// What is to be done; all others stay as they are.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Where a server is to begin.
    pub(super) added: Vec<Segment>,
    /// Where another takes the place of one.
    pub(super) changed: Vec<Segment>,
    /// Where a server is to end.
    pub(super) removed: Vec<Segment>,
}

impl Plan {
    /// What leads from the servers of `old` to those of `new`.
    pub(super) fn between(old: &Placed, new: &Placed) -> Self {
        let mut plan = Self::default();
        for (segment, server) in new {
            match old.get(segment) {
                None => plan.added.push(segment.clone()),
                Some(before) if before != server => plan.changed.push(segment.clone()),
                Some(_) => {}
            }
        }
        let gone = old.keys().filter(|segment| !new.contains_key(*segment));
        plan.removed = gone.cloned().collect();
        plan
    }

    /// Whether all stay as they are.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The keys of what is not of a server and differs: it holds from the next start.
pub(super) fn of_next_start(running: &Config, new: &Config) -> Vec<&'static str> {
    let tree = |config| serde_yaml::to_value(config).unwrap_or_default();
    let (before, after) = (tree(running), tree(new));
    let shared = ALL.iter().filter(|setting| !setting.is_of_server());
    let differs = |path: &str| at(&before, path) != at(&after, path);
    let differing = shared.filter(|setting| differs(&setting.path(Mode::Http)));
    let mut keys: Vec<_> = differing.map(|setting| setting.key).collect();
    // Secrets look alike in a tree.
    let sections = [
        ("mcpulse.apiKey", running.mcpulse != new.mcpulse),
        ("otel.headers", running.otel != new.otel),
    ];
    for (key, changed) in sections {
        let section = &key[..=key.find('.').unwrap_or(0)];
        if changed && !keys.iter().any(|known| known.starts_with(section)) {
            keys.push(key);
        }
    }
    keys.dedup();
    keys
}

fn at<'a>(tree: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(tree, |tree, key| tree.get(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Listen, Remote, Upstream};

    fn server(id: &str, url: &str) -> Server {
        Server { server_id: id.to_owned(), upstream: Upstream::Http(Remote::new(url)) }
    }

    fn list(servers: &[(&str, &str)]) -> Placed {
        let servers = servers.iter().map(|(id, url)| server(id, url)).collect();
        placed(&Served::Several { servers })
    }

    fn segments(ids: &[&str]) -> Vec<Segment> {
        ids.iter().map(|id| Some(Arc::from(*id))).collect()
    }

    #[test]
    fn only_what_differs_is_touched() {
        let old = list(&[("a", "http://a"), ("b", "http://b"), ("c", "http://c")]);
        let new = list(&[("d", "http://d"), ("c", "http://c"), ("b", "http://other")]);
        let plan = Plan::between(&old, &new);
        assert_eq!(plan.added, segments(&["d"]));
        assert_eq!(plan.changed, segments(&["b"]));
        assert_eq!(plan.removed, segments(&["a"]));
        assert!(!plan.is_empty() && Plan::between(&old, &old).is_empty());
    }

    #[test]
    fn the_order_of_a_list_means_nothing() {
        let old = list(&[("a", "http://a"), ("b", "http://b")]);
        let new = list(&[("b", "http://b"), ("a", "http://a")]);
        assert!(Plan::between(&old, &new).is_empty());
    }

    #[test]
    fn a_secret_that_changed_changes_its_server() {
        let with_token = |token: &str| {
            let mut remote = Remote::new("http://a");
            remote.bearer_token = Some(token.into());
            let upstream = Upstream::Http(remote);
            placed(&Served::One(Server { server_id: "a".to_owned(), upstream }))
        };
        let plan = Plan::between(&with_token("one"), &with_token("two"));
        assert_eq!((plan.changed, plan.added.len()), (vec![None], 0));
    }

    #[test]
    fn the_only_server_keeps_its_place_under_another_id_and_a_list_is_elsewhere() {
        let one = |id| placed(&Served::One(server(id, "http://a")));
        assert_eq!(Plan::between(&one("a"), &one("b")).changed, [None]);
        let plan = Plan::between(&one("a"), &list(&[("a", "http://a")]));
        assert_eq!((plan.added, plan.removed), (segments(&["a"]), vec![None]));
    }

    #[test]
    fn what_waits_for_another_start_is_named_by_its_keys() {
        let mut running = Config::of(Served::One(server("a", "http://a")));
        running.listen = Some(Listen::new(":1"));
        running.mcpulse.api_key = Some("one".into());
        let mut new = running.clone();
        assert!(of_next_start(&running, &new).is_empty());
        new.served = Served::Several { servers: vec![server("b", "http://b")] };
        assert!(of_next_start(&running, &new).is_empty());
        new.listen = Some(Listen::new(":2"));
        new.workers = 7;
        new.metrics_listen = Some(":3".to_owned());
        new.mcpulse.api_key = Some("two".into());
        let keys = of_next_start(&running, &new);
        assert_eq!(keys, ["listen.address", "metricsListen", "workers", "mcpulse.apiKey"]);
    }
}
