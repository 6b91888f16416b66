//! What the chart renders: the operator's own objects as it prints them, the images that are asked
//! for, and nothing for kinds that a cluster does not serve.

use std::collections::BTreeMap;

use mcpulse_operator::{crd, policy, rbac, release::Release};
use serde_json::{Value, json};

use super::{
    helm::{Helm, MAJORS, MONITORS, chart, template},
    named, objects, text,
};

const RELEASE: (&str, &str) = ("mcpulse", "mcpulse-system");

/// Objects by kind, namespace and name, without what a release adds to their metadata.
fn bare(objects: Vec<Value>) -> BTreeMap<[String; 3], Value> {
    let bare = objects.into_iter().map(|mut one| {
        let metadata = one["metadata"].as_object_mut().expect("metadata");
        metadata.remove("labels");
        metadata.remove("annotations");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let metadata = &one["metadata"];
        ([text(&one["kind"]), text(&metadata["namespace"]), text(&metadata["name"])], one)
    });
    bare.collect()
}

#[tokio::test]
async fn the_operators_own_objects_are_as_it_prints_them() {
    let watched = |name: &str, namespace: &str, watched: &str| Release {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        watched: Some(watched.to_owned()),
    };
    let cases = [
        (RELEASE, Release::default()),
        (("team", "mcp"), watched("team-mcpulse", "mcp", "weather")),
        (("my.mcpulse", "123"), watched("my-mcpulse", "123", "456")),
    ];
    for (called, release) in cases {
        let parts = [
            rbac::yaml(&release),
            policy::injection(&policy::FORMATS, &release),
            policy::refusal(&release),
            policy::guard(&release),
            crd::yaml().expect("the definition"),
        ];
        let printed: Vec<_> = parts.iter().flat_map(|part| objects(part)).collect();
        assert!(printed.len() > 15, "{}", printed.len());
        let watches = format!("watchNamespace={}", release.watched.clone().unwrap_or_default());
        for major in MAJORS {
            let words = ["--kube-version", "1.36.0", "--set-string", &watches];
            let rendered = Helm::alone(major).template(called, &words).await;
            let kept = rendered
                .iter()
                .filter(|one| one["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep");
            let kept: Vec<_> = kept.map(|one| &one["kind"]).collect();
            assert_eq!(kept, ["CustomResourceDefinition"]);
            for one in &rendered {
                let by = &one["metadata"]["labels"]["app.kubernetes.io/managed-by"];
                assert_eq!(by, "Helm", "{} has no labels", one["metadata"]);
            }
            let rendered = bare(rendered);
            for (key, printed) in bare(printed.clone()) {
                assert_eq!(rendered.get(&key), Some(&printed), "Helm {major}: {key:?}");
            }
            // Nor is there any right or policy beside these, but what people may do.
            let extra = |[kind, _, name]: &&[String; 3]| {
                ["Role", "Binding", "Policy"].iter().any(|word| kind.contains(word))
                    && kind != "NetworkPolicy"
                    && !name.contains("-mcpservers-")
            };
            let rendered = rendered.keys().filter(extra).count();
            assert_eq!(rendered, bare(printed.clone()).keys().filter(extra).count());
        }
    }
}

#[tokio::test]
async fn both_versions_of_helm_render_the_same_and_find_nothing_to_mend() {
    for words in [&["--kube-version", "1.30.0"][..], &["--kube-version", "1.37.0"]] {
        for more in [&[][..], &["--api-versions", MONITORS]] {
            let words = [words, more].concat();
            let [new, old] = MAJORS.map(Helm::alone);
            let (new, old) =
                (new.template(RELEASE, &words).await, old.template(RELEASE, &words).await);
            assert!(new.len() > 15);
            assert_eq!(by_text(&new), by_text(&old), "{words:?}");
        }
    }
    for major in MAJORS {
        let told = Helm::alone(major).says(&["lint", "--strict", &chart()]).await;
        assert!(told.contains("1 chart(s) linted, 0 chart(s) failed"), "{told}");
        assert!(!told.contains("[WARNING]"), "{told}");
    }
}

fn by_text(objects: &[Value]) -> Vec<String> {
    let mut texts: Vec<_> = objects.iter().map(Value::to_string).collect();
    texts.sort();
    texts
}

#[tokio::test]
async fn what_a_cluster_does_not_serve_is_not_rendered() {
    let helm = Helm::alone(4);
    let kinds = async |words: &[&str]| {
        let rendered = helm.template(RELEASE, words).await;
        let kind = |one: &Value| one["kind"].as_str().expect("a kind").to_owned();
        (rendered.iter().map(kind).collect::<Vec<_>>(), rendered)
    };
    let has = |kinds: &[String], kind: &str| kinds.iter().any(|one| one == kind);
    let annotated = |rendered: &[Value]| {
        let deployment = named(rendered, "Deployment", "mcpulse-operator");
        let pod = &deployment["spec"]["template"];
        let args = pod["spec"]["containers"][0]["args"].as_array().expect("words");
        let scraped = &pod["metadata"]["annotations"]["prometheus.io/scrape"];
        (scraped == "true", args.iter().any(|word| word == "--scrape-annotations"))
    };

    let (kinds_of_1_35, rendered) = kinds(&["--kube-version", "1.35.0"]).await;
    assert!(!has(&kinds_of_1_35, "MutatingAdmissionPolicy"));
    assert!(has(&kinds_of_1_35, "ValidatingAdmissionPolicy"));
    assert!(has(&kinds_of_1_35, "MutatingWebhookConfiguration"));
    assert!(!kinds_of_1_35.iter().any(|kind| kind.contains("Monitor") || kind.contains("Rule")));
    assert_eq!(annotated(&rendered), (true, true));
    let webhooks = named(&rendered, "MutatingWebhookConfiguration", "mcpulse");
    assert!(webhooks.get("webhooks").is_none(), "they are the operator's");

    let (told, rendered) = kinds(&["--api-versions", MONITORS]).await;
    for kind in ["PodMonitor", "ServiceMonitor", "PrometheusRule"] {
        assert!(has(&told, kind), "{kind}");
    }
    assert_eq!(annotated(&rendered), (false, false));
    let (_, rendered) =
        kinds(&["--api-versions", MONITORS, "--set", "metrics.podMonitor.enabled=false"]).await;
    assert_eq!(annotated(&rendered), (false, true));
    let (_, rendered) = kinds(&["--set", "metrics.annotations=false"]).await;
    assert_eq!(annotated(&rendered), (false, false));

    // A cluster that was asked serves what it says, whatever its version.
    let asked = ["--kube-version", "1.36.0", "--api-versions", "v1/Pod"];
    assert!(!has(&kinds(&asked).await.0, "MutatingAdmissionPolicy"));
    let (told, _) = kinds(&["--kube-version", "1.36.0", "--set", "injection.engine=webhook"]).await;
    assert!(!has(&told, "MutatingAdmissionPolicy"));
    let chart = chart();
    for (words, says) in [
        (&["--kube-version", "1.29.9"][..], "1.29.9"),
        (&["--kube-version", "1.35.9", "--set", "injection.engine=policy"], "nothing would inject"),
    ] {
        let why = helm.refuses(&template(RELEASE, words, &chart)).await;
        assert!(why.contains(says), "{why}");
    }
}

#[tokio::test]
async fn images_come_from_one_registry_and_are_pinned_by_digest() {
    let helm = Helm::alone(4);
    let images = async |words: &[&str]| {
        let rendered = helm.template(RELEASE, words).await;
        let deployment = named(&rendered, "Deployment", "mcpulse-operator");
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let args = container["args"].as_array().expect("words").iter();
        let mut proxy = args.filter_map(|word| word.as_str()?.strip_prefix("--proxy-image="));
        let test = &named(&rendered, "Pod", "mcpulse-test")["spec"]["containers"][0]["image"];
        assert_eq!(test, &container["image"], "there is no image but these");
        let operator = container["image"].as_str().expect("an image").to_owned();
        [operator, proxy.next().expect("the sidecar's").to_owned()]
    };
    let version = env!("CARGO_PKG_VERSION");
    let ours = ["operator", "proxy"].map(|of| format!("ghcr.io/mcpulse/mcpulse-{of}:{version}"));
    assert_eq!(images(&[]).await, ours);
    let told: Value = serde_yaml::from_str(&text("Chart.yaml")).expect("Chart.yaml");
    assert_eq!((&told["version"], &told["appVersion"]), (&version.into(), &version.into()));
    let listed = told["annotations"]["artifacthub.io/images"].as_str().expect("images");
    assert!(ours.iter().all(|image| listed.contains(image)), "{listed}");
    let digest = format!("sha256:{}", "0f".repeat(32));
    let (registry, proxy) =
        ("global.imageRegistry=here.example/mirror/", format!("proxy.image.digest={digest}"));
    let words = ["--set", registry, "--set", &proxy, "--set", "image.tag=v2"];
    let [operator, proxy] = images(&words).await;
    assert_eq!(operator, "here.example/mirror/mcpulse-operator:v2");
    assert_eq!(proxy, format!("here.example/mirror/mcpulse-proxy@{digest}"));
}

#[tokio::test]
async fn the_key_is_in_the_namespaces_that_are_named() {
    let helm = Helm::alone(4);
    let named = "mcpulse.apiKey.secret=mcpulse-key,mcpulse.apiKey.value=k'\"{y";
    let of = |words: &[Value]| -> Vec<String> {
        let secrets = words.iter().filter(|one| one["kind"] == "Secret");
        secrets
            .map(|one| {
                assert_eq!(one["metadata"]["name"], "mcpulse-key");
                assert_eq!(one["stringData"], json!({"api-key": "k'\"{y"}));
                one["metadata"]["namespace"].as_str().expect("a namespace").to_owned()
            })
            .collect()
    };
    let words = ["--set", named, "--set", "mcpulse.apiKey.namespaces={a,b}"];
    let rendered = helm.template(RELEASE, &words).await;
    assert_eq!(of(&rendered), ["a", "b"]);
    let deployment = super::named(&rendered, "Deployment", "mcpulse-operator");
    let args = &deployment["spec"]["template"]["spec"]["containers"][0]["args"];
    let told = "--mcpulse-api-key=mcpulse-key/api-key";
    assert!(args.as_array().expect("words").iter().any(|word| word == told), "{args}");
    let rendered = helm.template(RELEASE, &["--set", named, "--set", "watchNamespace=team"]).await;
    assert_eq!(of(&rendered), ["team"]);
    let chart = chart();
    for (words, says) in [
        (&["--set", named][..], "mcpulse.apiKey.namespaces"),
        (&["--set", "mcpulse.apiKey.value=k"], "name the Secret"),
        (&["--set", "watchNamespace=mcpulse-system"], "watchNamespace is mcpulse-system"),
    ] {
        let why = helm.refuses(&template(RELEASE, words, &chart)).await;
        assert!(why.contains(says), "{why}");
    }
}
