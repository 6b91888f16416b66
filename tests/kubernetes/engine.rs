//! Which engine injects: the webhook until the policy has shown that it does, and nothing while
//! the binding of the policy is deleted.

use mcpulse_operator::{
    crd::injection::FORMAT,
    engine::{self, Choice, Engine},
    policy,
    release::Release,
    servers::Servers,
};
use mcpulse_tests::eventually;
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinSet};

use crate::{
    cluster::{Cluster, PATIENCE, carries_sidecar, plain_while},
    hook::{CONFIGURATION, Hook},
    weather::{injection, pod, server},
};

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";

/// Chooses as an operator does, for as long as what is returned is kept.
fn choosing(cluster: &Cluster, chosen: watch::Sender<Engine>) -> JoinSet<()> {
    let client = cluster.plane.client();
    let mut tasks = JoinSet::new();
    let (servers, watch) = Servers::new(kube::Api::all(client.clone()));
    tasks.spawn(watch.run(|| {}));
    let policy = Release::default().policy(FORMAT);
    tasks.spawn(async move {
        engine::choose(client, Choice::Auto, &policy, servers, &chosen).await;
    });
    tasks
}

async fn chosen(engine: &watch::Sender<Engine>, wanted: Engine) {
    let is = async || (*engine.borrow() == wanted).then_some(());
    eventually(&format!("{wanted:?} is chosen"), PATIENCE, is).await;
}

#[tokio::test]
async fn the_webhook_stays_until_the_policy_injects_and_no_pod_misses_the_change() {
    let Some(cluster) = Cluster::start().await.if_policies().await else { return };
    let hook = Hook::start(&cluster).await;
    let _choosing = choosing(&cluster, hook.engine.clone());
    let namespace = cluster.plane.namespace("a", &[]).await;
    let injection = injection("weather");
    cluster.publish(&namespace, &server("weather"), &json!(injection)).await;
    cluster.injects(&namespace, &pod(), &injection).await;
    chosen(&hook.engine, Engine::Webhook).await;
    assert!(hook.counted("injected") > 0);

    let changing = async {
        cluster.apply(&policy::injection(&policy::FORMATS, &Release::default())).await;
        // What an operator sees all the time.
        let another = cluster.plane.namespace("b", &[]).await;
        cluster.publish(&another, &server("weather"), &json!(injection)).await;
        chosen(&hook.engine, Engine::Policy).await;
        let gone = async || {
            let path = format!("{GROUP}/mutatingwebhookconfigurations/{CONFIGURATION}");
            cluster.get(&path).await.expect("it stays")["webhooks"].is_null().then_some(())
        };
        eventually("the webhooks are gone", PATIENCE, gone).await;
    };
    let plain = plain_while(&cluster, &namespace, &pod(), changing).await;
    assert_eq!(plain, 0, "pods came without the sidecar");
}

#[tokio::test]
async fn where_the_policy_injects_nothing_of_the_webhook_begins() {
    let Some(cluster) = Cluster::with_policy().await else { return };
    let hook = Hook::start_as(&cluster, Engine::Undecided).await;
    let _choosing = choosing(&cluster, hook.engine.clone());
    let namespace = cluster.plane.namespace("a", &[]).await;
    let injection = injection("weather");
    cluster.publish(&namespace, &server("weather"), &json!(injection)).await;
    let mut seen = hook.engine.subscribe();
    let first = seen.wait_for(|engine| *engine != Engine::Undecided).await.map(|engine| *engine);
    assert_eq!(first.ok(), Some(Engine::Policy), "the webhook came in first");
    cluster.injects(&namespace, &pod(), &injection).await;
    let path = format!("{GROUP}/mutatingwebhookconfigurations/{CONFIGURATION}");
    assert!(cluster.get(&path).await.is_err(), "a configuration");
    assert_eq!(hook.counted("injected"), 0);
}

#[tokio::test]
async fn a_deleted_binding_stops_all_injection_also_after_a_restart() {
    let Some(cluster) = Cluster::with_policy().await else { return };
    let name = Release::default().policy(FORMAT);
    let binding = format!("{GROUP}/mutatingadmissionpolicybindings/{name}");
    cluster.request("DELETE", &binding, &Value::Null).await.expect("it was there");
    let hook = Hook::start_as(&cluster, Engine::Undecided).await;
    let _choosing = choosing(&cluster, hook.engine.clone());
    let namespace = cluster.plane.namespace("a", &[]).await;
    cluster.publish(&namespace, &server("weather"), &json!(injection("weather"))).await;
    chosen(&hook.engine, Engine::Off).await;
    let told = cluster.dry_run(&namespace, &pod()).await.expect("a pod");
    assert!(!carries_sidecar(&told));
}
