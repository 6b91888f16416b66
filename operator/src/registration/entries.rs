//! The webhooks of a configuration. Pure: the same `McpServer`s, the same webhooks.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{
    ByteString,
    api::admissionregistration::v1::{
        MatchCondition, MutatingWebhook, RuleWithOperations, ServiceReference, WebhookClientConfig,
    },
    apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement},
};

use crate::{
    crd::{
        McpServer, McpServerStatus, Selector,
        injection::{CONTAINER, NAMESPACE_OPT_OUT, OPT_OUT, PROBE, REVISION},
        selector::Operator,
    },
    policy::EXCLUDED,
    webhook::PATH,
};

/// How many webhooks there may be; each costs every pod of the cluster a look.
const MOST: usize = 150;
/// Longest time that a pod waits for an answer, in seconds.
const TIMEOUT: i32 = 5;
/// The label of namespaces with their name, which the API server sees to.
const NAMESPACE: &str = "kubernetes.io/metadata.name";

/// How API servers reach the webhook.
#[derive(Clone, Debug)]
pub enum Reach {
    /// By a Service.
    Service {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// By an address: `https://HOST:PORT`.
    Url(String),
}

impl Reach {
    fn client(&self, bundle: &str) -> WebhookClientConfig {
        let ca_bundle = (!bundle.is_empty()).then(|| ByteString(bundle.as_bytes().to_vec()));
        let (service, url) = match self {
            Self::Service { namespace, name } => {
                let service = ServiceReference {
                    namespace: namespace.clone(),
                    name: name.clone(),
                    path: Some(PATH.to_owned()),
                    port: Some(443),
                };
                (Some(service), None)
            }
            Self::Url(url) => (None, Some(format!("{url}{PATH}"))),
        };
        WebhookClientConfig { ca_bundle, service, url }
    }
}

/// The webhooks for these `McpServer`s: one each; a namespace each where that would be too many;
/// one for all where that would be too many as well. An empty `bundle` is left out.
pub fn entries(
    servers: &[Arc<McpServer>],
    reach: &Reach,
    release: &str,
    bundle: &str,
) -> Vec<MutatingWebhook> {
    let mut namespaces: BTreeMap<&str, BTreeMap<&str, Selector>> = BTreeMap::new();
    for server in servers {
        let metadata = &server.metadata;
        let (Some(namespace), Some(name)) = (&metadata.namespace, &metadata.name) else { continue };
        let injection = server.status.as_ref().and_then(McpServerStatus::known_injection);
        let left_alone = namespace == release || EXCLUDED.contains(&namespace.as_str());
        if let Some(injection) = injection.filter(|_| !left_alone) {
            let selector = injection.selector.clone();
            namespaces.entry(namespace).or_default().insert(name, selector);
        }
    }
    let webhook = |name: String, namespaces: &[&str], selector: Option<&Selector>| {
        webhook(name, namespaces, selector, reach.client(bundle))
    };
    if namespaces.len() > MOST {
        let all: Vec<&str> = namespaces.keys().copied().collect();
        return vec![webhook("pods.injection.mcpulse.io".to_owned(), &all, None)];
    }
    if namespaces.values().map(BTreeMap::len).sum::<usize>() > MOST {
        let one = |namespace: &str| webhook(format!("{namespace}.mcpulse.io"), &[namespace], None);
        return namespaces.into_keys().map(one).collect();
    }
    let each = namespaces.into_iter().flat_map(|(namespace, servers)| {
        servers.into_iter().map(move |(name, selector)| (namespace, name, selector))
    });
    each.map(|(namespace, name, selector)| {
        webhook(format!("{name}.{namespace}.mcpulse.io"), &[namespace], Some(&selector))
    })
    .collect()
}

fn webhook(
    name: String,
    namespaces: &[&str],
    selector: Option<&Selector>,
    client_config: WebhookClientConfig,
) -> MutatingWebhook {
    let namespace_selector = LabelSelector {
        match_labels: None,
        match_expressions: Some(vec![
            requirement(NAMESPACE, "In", namespaces),
            requirement(NAMESPACE_OPT_OUT, "NotIn", &["disabled"]),
        ]),
    };
    let mut object_selector = selector.map(label_selector).unwrap_or_default();
    object_selector.match_expressions.get_or_insert_default().extend([
        requirement(OPT_OUT, "NotIn", &["disabled"]),
        // By these the policy shows what it can do alone.
        requirement(PROBE, "DoesNotExist", &[]),
    ]);
    let carried = format!(
        "!('{REVISION}' in object.metadata.?annotations.orValue({{}}) && \
         object.spec.?initContainers.orValue([]).exists(c, c.name == '{CONTAINER}'))"
    );
    let pods = RuleWithOperations {
        api_groups: Some(vec![String::new()]),
        api_versions: Some(vec!["v1".to_owned()]),
        operations: Some(vec!["CREATE".to_owned()]),
        resources: Some(vec!["pods".to_owned()]),
        scope: Some("Namespaced".to_owned()),
    };
    MutatingWebhook {
        name,
        admission_review_versions: vec!["v1".to_owned()],
        client_config,
        // No pod waits for what is broken; `Fail` is a policy of its own.
        failure_policy: Some("Ignore".to_owned()),
        match_conditions: Some(vec![MatchCondition {
            name: "not-injected".to_owned(),
            expression: carried,
        }]),
        match_policy: Some("Equivalent".to_owned()),
        namespace_selector: Some(namespace_selector),
        object_selector: Some(object_selector),
        reinvocation_policy: Some("IfNeeded".to_owned()),
        rules: Some(vec![pods]),
        // Events, but not for dry runs.
        side_effects: "NoneOnDryRun".to_owned(),
        timeout_seconds: Some(TIMEOUT),
    }
}

fn requirement(key: &str, operator: &str, values: &[&str]) -> LabelSelectorRequirement {
    let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
    LabelSelectorRequirement {
        key: key.to_owned(),
        operator: operator.to_owned(),
        values: Some(values).filter(|values| !values.is_empty()),
    }
}

fn label_selector(selector: &Selector) -> LabelSelector {
    let expressions = selector.match_expressions.iter().map(|one| {
        let operator = match one.operator {
            Operator::In => "In",
            Operator::NotIn => "NotIn",
            Operator::Exists => "Exists",
            Operator::DoesNotExist => "DoesNotExist",
        };
        let values: Vec<&str> = one.values.iter().map(String::as_str).collect();
        requirement(&one.key, operator, &values)
    });
    LabelSelector {
        match_labels: Some(selector.match_labels.clone()).filter(|labels| !labels.is_empty()),
        match_expressions: Some(expressions.collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render;

    fn server(namespace: &str, name: &str) -> Arc<McpServer> {
        let spec = format!(
            "{{selector: {{matchLabels: {{app: {name}}}, \
             matchExpressions: [{{key: tier, operator: In, values: [x, y]}}]}}}}"
        );
        let mut server = McpServer::new(name, serde_yaml::from_str(&spec).unwrap());
        server.metadata.namespace = Some(namespace.to_owned());
        let injection = Some(render::alone(&server));
        server.status = Some(McpServerStatus { injection, ..McpServerStatus::default() });
        Arc::new(server)
    }

    fn names(servers: &[Arc<McpServer>]) -> Vec<String> {
        let reach = Reach::Url("https://127.0.0.1:1".to_owned());
        let entries = entries(servers, &reach, "release", "PEM");
        entries.into_iter().map(|entry| entry.name).collect()
    }

    #[test]
    fn each_server_has_its_own_webhook_and_without_one_there_is_none() {
        assert!(names(&[]).is_empty());
        let pending = McpServer::new("a", server("a", "a").spec.clone());
        assert!(names(&[Arc::new(pending)]).is_empty(), "not rendered yet");
        let left_alone = ["release", "kube-system", "kube-node-lease"];
        assert!(names(&left_alone.map(|namespace| server(namespace, "a"))).is_empty());
        let both = [server("b", "two"), server("a", "one")];
        assert_eq!(names(&both), ["one.a.mcpulse.io", "two.b.mcpulse.io"]);

        let reach = Reach::Service { namespace: "release".to_owned(), name: "hook".to_owned() };
        let entry = &entries(&both[..1], &reach, "release", "")[0];
        let entry = serde_json::to_value(entry).unwrap();
        assert_eq!(entry["failurePolicy"], "Ignore");
        assert!(entry["clientConfig"]["caBundle"].is_null());
        assert_eq!(entry["clientConfig"]["service"]["path"], "/inject");
        assert_eq!(entry["objectSelector"]["matchLabels"]["app"], "two");
        assert_eq!(entry["objectSelector"]["matchExpressions"][0]["key"], "tier");
        assert_eq!(entry["namespaceSelector"]["matchExpressions"][0]["values"][0], "b");
    }

    #[test]
    fn too_many_webhooks_become_one_a_namespace_and_then_one() {
        let many = |count: usize, namespaces: usize| -> Vec<String> {
            let servers = (0..count)
                .map(|at| server(&format!("ns{}", at % namespaces), &format!("s{at}")))
                .collect::<Vec<_>>();
            names(&servers)
        };
        assert_eq!(many(150, 3).len(), 150);
        assert_eq!(many(300, 1), ["ns0.mcpulse.io"]);
        assert_eq!(many(151, 3), ["ns0.mcpulse.io", "ns1.mcpulse.io", "ns2.mcpulse.io"]);
        assert_eq!(many(200, 200), ["pods.injection.mcpulse.io"]);
    }
}
