//! The chart's values: each is documented, known to the schema, and nothing else is.

use std::{env, fs};

use serde_json::Value;

use super::{
    file,
    helm::{Helm, MAJORS, chart, template},
    text,
};

/// A value with its default and what stands above it in values.yaml.
#[derive(Debug)]
struct Documented {
    path: String,
    default: Value,
    meaning: String,
}

/// Every value that has a comment of its own, and every leaf.
fn documented() -> Vec<Documented> {
    let text = text("values.yaml");
    let values: Value = serde_yaml::from_str(&text).expect("values");
    let mut found = Vec::new();
    let mut place: Vec<(usize, String)> = Vec::new();
    let mut comment = String::new();
    for line in text.lines() {
        let trimmed = line.trim_start();
        let indent = line.len() - trimmed.len();
        if let Some(said) = trimmed.strip_prefix("# ") {
            if !comment.is_empty() {
                comment.push(' ');
            }
            comment.push_str(said);
        } else if let Some((key, _)) = trimmed.split_once(':') {
            place.retain(|(at, _)| *at < indent);
            place.push((indent, key.to_owned()));
            let path = place.iter().map(|(_, key)| key.as_str()).collect::<Vec<_>>().join(".");
            let pointer = format!("/{}", path.replace('.', "/"));
            // Entries of a map with any keys are no values of their own.
            if let Some(default) = values.pointer(&pointer).filter(|_| !is_free(&path)) {
                let meaning = std::mem::take(&mut comment);
                found.push(Documented { path, default: default.clone(), meaning });
            }
        } else {
            comment.clear();
        }
    }
    found
}

/// Whether this is below a map that takes any keys.
fn is_free(path: &str) -> bool {
    path.rsplit_once('.').is_some_and(|(above, _)| above.ends_with("labels"))
}

fn is_leaf(value: &Value, path: &str) -> bool {
    !value.is_object()
        || value.as_object().is_some_and(serde_json::Map::is_empty)
        || path.ends_with("labels")
}

/// The table of README.md.
fn table() -> String {
    let rows = documented().into_iter().filter_map(|one| {
        let leaf = is_leaf(&one.default, &one.path);
        assert!(!leaf || !one.meaning.is_empty(), "values.yaml does not say what {} is", one.path);
        let default = if leaf { format!("`{}`", one.default) } else { String::new() };
        let meaning = one.meaning.replace('|', "\\|");
        (!meaning.is_empty()).then(|| format!("| `{}` | {default} | {meaning} |\n", one.path))
    });
    let rows: String = rows.collect();
    format!("| value | default | meaning |\n|---|---|---|\n{rows}")
}

#[test]
fn readme_has_every_value() {
    let readme = text("README.md");
    let (head, rest) = readme.split_once("\n## Values\n\n").expect("a section Values");
    let (_, tail) = rest.split_once("\n## ").expect("a section behind it");
    let told = format!("{head}\n## Values\n\n{}\n## {tail}", table());
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(file("README.md"), &told).expect("README.md");
    }
    let committed = text("README.md");
    assert!(
        committed == told,
        "run UPDATE_GOLDEN=1 cargo test -p mcpulse-tests --test kubernetes chart::values"
    );
}

/// The schema at a path, with references followed.
fn known<'a>(schema: &'a Value, path: &str) -> Option<&'a Value> {
    let followed = |at: &'a Value| match at["$ref"].as_str() {
        Some(to) => schema.pointer(to.trim_start_matches('#')).expect("what is referred to"),
        None => at,
    };
    path.split('.').try_fold(schema, |at, key| Some(followed(at["properties"].get(key)?)))
}

#[test]
fn the_schema_knows_every_value_and_no_others() {
    let schema: Value = serde_json::from_str(&text("values.schema.json")).expect("JSON");
    let documented = documented();
    assert!(documented.len() > 60, "{}", documented.len());
    for one in &documented {
        assert!(known(&schema, &one.path).is_some(), "the schema lacks {}", one.path);
    }
    // And the other way round: whatever it knows by name is there, but for what lists hold.
    let mut open = vec![(String::new(), &schema)];
    let mut seen = 0;
    while let Some((path, at)) = open.pop() {
        let Some(properties) = at["properties"].as_object() else { continue };
        if path != "global" {
            assert_eq!(at["additionalProperties"], false, "{path} takes anything");
        }
        for key in properties.keys() {
            let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let is_there = documented.iter().any(|one| one.path == below);
            let spared = below.starts_with("affinity.") || below.starts_with("resources.");
            assert!(is_there || spared, "values.yaml lacks {below}");
            seen += 1;
            if !spared {
                open.push((below.clone(), known(&schema, &below).expect("it is there")));
            }
        }
    }
    assert!(seen >= documented.len(), "{seen}");
}

/// What people write by mistake, and what is said then names it.
const MISTAKES: [(&str, &str); 24] = [
    ("replicaCount=3", "replicaCount"),
    ("replicas=three", "replicas"),
    ("replicas=-1", "replicas"),
    ("image.repo=x", "repo"),
    ("image.pullPolicy=Sometimes", "pullPolicy"),
    ("image.digest=0f0f", "digest"),
    ("image.tag=a b", "tag"),
    ("proxy.tag=1", "tag"),
    ("proxy.image.pullPolicy=Always", "pullPolicy"),
    ("global.imageRegistery=x", "imageRegistery"),
    ("global.imagePullSecret=x", "imagePullSecret"),
    ("imagePullSecrets={a}", "imagePullSecrets"),
    ("mcpulse.host=x", "host"),
    ("mcpulse.apikey.value=x", "apikey"),
    ("mcpulse.apiKey.namespaces={Upper}", "namespaces"),
    ("watchNamespaces={a}", "watchNamespaces"),
    ("watchNamespace=Upper", "watchNamespace"),
    ("crds.install=false", "crds"),
    ("crd.install=yes please", "install"),
    ("injection.engine=policies", "engine"),
    ("metrics.podmonitor.enabled=false", "podmonitor"),
    ("metrics.serviceMonitor.interval=often", "interval"),
    ("resources.limit.memory=1Gi", "limit"),
    ("tolerations[0].efect=NoSchedule", "efect"),
];

#[tokio::test]
async fn mistakes_are_refused_by_name() {
    let chart = chart();
    for major in MAJORS {
        let helm = Helm::alone(major);
        for (mistake, says) in MISTAKES {
            let words = template(("mcpulse", "mcpulse-system"), &["--set", mistake], &chart);
            let why = helm.refuses(&words).await;
            assert!(why.contains(says) && why.contains("schema"), "{mistake}: {why}");
        }
        // What a parent chart has for all of its charts is none of ours.
        let words = ["--set", "global.storageClass=fast"];
        helm.template(("mcpulse", "mcpulse-system"), &words).await;
    }
}
