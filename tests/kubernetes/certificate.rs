//! Certificates of the webhook: replicas share one authority, and whatever happens to clocks and
//! Secrets, pods go on being injected.

use std::time::Duration;

use mcpulse_operator::crd::Injection;
use mcpulse_tests::eventually;
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, PATIENCE, carries_sidecar, plain_while},
    hook::{Hook, RELEASE, SECRET},
    weather::{injection, pod, server},
};

const DAY: Duration = Duration::from_hours(24);

fn secret() -> String {
    format!("/api/v1/namespaces/{RELEASE}/secrets/{SECRET}")
}

/// A namespace with a server.
async fn served(cluster: &Cluster) -> (String, Injection) {
    let namespace = cluster.plane.namespace("a", &[]).await;
    let injection = injection("weather");
    cluster.publish(&namespace, &server("weather"), &json!(injection)).await;
    (namespace, injection)
}

#[tokio::test]
async fn replicas_that_start_at_once_share_one_authority() {
    let cluster = Cluster::start().await;
    let replica = |leads| Hook::replica(&cluster, leads, Duration::ZERO);
    let (a, b, c) = tokio::join!(replica(true), replica(false), replica(false));
    let (of_a, of_b, of_c) = tokio::join!(a.trusted(), b.trusted(), c.trusted());
    assert_eq!((&of_a, &of_a), (&of_b, &of_c));
    assert_eq!(of_a.matches("BEGIN CERTIFICATE").count(), 1);
    let (namespace, injection) = served(&cluster).await;
    cluster.injects(&namespace, &pod(), &injection).await;
}

#[tokio::test]
async fn a_clock_that_was_late_by_more_than_a_certificates_life_heals_when_it_is_set() {
    let cluster = Cluster::start().await;
    // The certificate is over for the API server, then the authority as well.
    for late in [DAY * 8, DAY * 400] {
        let hook = Hook::replica(&cluster, true, late).await;
        let first = hook.trusted().await;
        let (namespace, injection) = served(&cluster).await;
        let told = cluster.dry_run(&namespace, &pod()).await.expect("a pod all the same");
        assert!(!carries_sidecar(&told), "the API server takes a certificate that is over");
        hook.set_late(0);
        cluster.injects(&namespace, &pod(), &injection).await;
        let anew = hook.trusted().await != first;
        assert_eq!(anew, late > DAY * 365, "after {late:?}");
        drop(hook);
        cluster.request("DELETE", &secret(), &Value::Null).await.expect("the next one begins anew");
    }
}

#[tokio::test]
async fn a_secret_that_is_deleted_comes_back_and_no_pod_misses_it() {
    let cluster = Cluster::start().await;
    let leader = Hook::start(&cluster).await;
    let other = Hook::replica(&cluster, false, Duration::ZERO).await;
    let before = leader.trusted().await;
    let (namespace, injection) = served(&cluster).await;
    cluster.injects(&namespace, &pod(), &injection).await;
    let deleting = async {
        for _ in 0..5 {
            let deleted = cluster.request("DELETE", &secret(), &Value::Null).await;
            deleted.expect("it was there");
            let back = async || cluster.get(&secret()).await.ok();
            eventually("the Secret comes back", PATIENCE, back).await;
        }
        // Somebody makes nonsense of it.
        let mut found = cluster.get(&secret()).await.expect("the Secret");
        found["data"]["ca.key"] = "bm9uZQ==".into();
        cluster.request("PUT", &secret(), &found).await.expect("it is written");
        eventually("the Secret is good again", PATIENCE, async || {
            let found = cluster.get(&secret()).await.ok()?;
            (found["data"]["ca.key"] != "bm9uZQ==").then_some(())
        })
        .await;
    };
    assert_eq!(
        plain_while(&cluster, &namespace, &pod(), deleting).await,
        0,
        "pods came without the sidecar"
    );
    assert_eq!((leader.trusted().await, other.trusted().await), (before.clone(), before));
}

#[tokio::test]
async fn an_authority_is_succeeded_while_both_are_trusted_and_no_pod_misses_it() {
    let cluster = Cluster::start().await;
    let hook = Hook::replica(&cluster, true, DAY * 220).await;
    let first = hook.trusted().await;
    let (namespace, injection) = served(&cluster).await;
    // Its certificate of 220 days ago is over, its authority is not.
    hook.set_late(0);
    cluster.injects(&namespace, &pod(), &injection).await;
    let signs = async || {
        let found = cluster.get(&secret()).await.expect("the Secret");
        found["data"]["ca.crt"].clone()
    };
    let before = signs().await;
    let rotating = async {
        eventually("both are trusted", PATIENCE, async || {
            let trusted = hook.trusted().await;
            (trusted.starts_with(&first) && trusted.len() > first.len()).then_some(())
        })
        .await;
        assert_eq!(signs().await, before, "the successor signs at once");
        // The time that API servers get passes.
        hook.set_late(-11 * 60);
        let succeeded = async || (signs().await != before).then_some(());
        eventually("the successor signs", PATIENCE, succeeded).await;
        assert!(hook.trusted().await.contains(&first), "the first is dropped at once");
    };
    assert_eq!(
        plain_while(&cluster, &namespace, &pod(), rotating).await,
        0,
        "pods came without the sidecar"
    );
}
