//! What the operator does about pods that run, and what it says of them.

use mcpulse_tests::eventually;
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, PATIENCE, carries_sidecar},
    kubelet::BROKEN,
    operator::{IMAGE, Operator, condition, deployment, manifest},
    scene::{SELECTS, Scene, is, pods_path, server_path},
};

async fn new_pods_are_injected_and_counted(cluster: &Cluster) {
    let scene = Scene::new(cluster, "new").await;
    scene.apply(SELECTS).await;
    let revision = scene.published().await;
    let server = scene.well(0).await;
    assert_eq!(condition(&server, "Injected")["reason"], "NoPods");
    scene.injects().await;
    scene.deploy(2).await;
    let status = scene.well(2).await["status"].clone();
    assert_eq!(status["pods"]["upToDate"], 2, "{status:#}");
    assert_eq!(status["workloads"][0]["name"], "weather", "{status:#}");
    assert_eq!(status["observedGeneration"], 1);
    assert_eq!(status["target"], "app=weather");
    for pod in scene.pods().await {
        assert!(carries_sidecar(&pod), "{pod:#}");
        assert_eq!(pod["metadata"]["annotations"]["mcpulse.io/revision"], revision.as_str());
        assert_eq!(pod["spec"]["initContainers"][0]["image"], IMAGE);
    }
    assert_eq!(scene.templates().await, 1);

    // Deleted, it leaves what runs alone, and new pods as they are.
    let path = server_path(&scene.namespace);
    let (before, none) = (scene.uids().await, Value::Null);
    cluster.request("DELETE", &path, &none).await.expect("it is gone at once");
    assert!(cluster.get(&path).await.is_err(), "no finalizer holds it");
    let scale = json!({"spec": {"replicas": 3}});
    cluster.merge(&deployment(&scene.namespace, "weather"), &scale).await.expect("more pods");
    let all = pods_path(&scene.namespace);
    let third = |pods: &Value| (pods["items"].as_array()?.len() == 3).then_some(());
    cluster.until("a third pod", &all, third).await;
    let plain = scene.pods().await.into_iter().filter(|pod| !carries_sidecar(pod)).count();
    assert_eq!(plain, 1);
    assert!(before.is_subset(&scene.uids().await));
}

async fn a_workload_that_runs_is_restarted_once(cluster: &Cluster) {
    let scene = Scene::new(cluster, "old").await;
    scene.deployed(3).await;
    scene.apply(SELECTS).await;
    scene.well(3).await;
    let over = |server: &Value| server["status"]["workloads"][0]["rollout"] == "Idle";
    let status = scene.until("the rollout is over", over).await["status"].clone();
    assert_eq!(scene.templates().await, 2, "one restart");
    let path = deployment(&scene.namespace, "weather");
    let deployment = cluster.get(&path).await.expect("the Deployment");
    let said = deployment["metadata"]["annotations"]["mcpulse.io/restarted-for"].as_str();
    let revision = status["injection"]["revision"].as_str().expect("a revision");
    assert!(said.is_some_and(|said| said.starts_with(revision)), "{said:?}");
    scene.told("McpServer", "Restarted").await;
    scene.told("Deployment", "Restarted").await;

    // Another spec makes them anew once more.
    scene.edit(&json!({"transport": {"http": {"path": "/other"}}})).await;
    scene
        .until("they are up to date", |server| {
            server["status"]["pods"]["upToDate"] == 3
                && server["status"]["observedGeneration"] == 2
                && is(server, "Ready", "True")
        })
        .await;
    assert_eq!(scene.templates().await, 3);
}

async fn pods_are_evicted_where_that_is_asked_for(cluster: &Cluster, operator: &Operator) {
    let scene = Scene::new(cluster, "evict").await;
    scene.deployed(3).await;
    let budgets = format!("/apis/policy/v1/namespaces/{}/poddisruptionbudgets", scene.namespace);
    let selector = json!({"matchLabels": {"app": "weather"}});
    let spec = json!({"minAvailable": 3, "selector": selector});
    let budget = json!({"metadata": {"name": "weather"}, "spec": spec});
    cluster.post(&budgets, &budget).await.expect("a budget");
    let budget = format!("{budgets}/weather");
    let known = |it: &Value| (it["status"]["currentHealthy"] == 3).then_some(());
    cluster.until("the budget is known", &budget, known).await;
    let before = scene.uids().await;
    scene.apply("{selector: {matchLabels: {app: weather}}, rollout: {strategy: EvictPods}}").await;
    eventually("the budget holds", PATIENCE, async || {
        let held = [("action", "evict"), ("result", "busy")];
        let held = operator.scrape().await.sum("mcpulse_rollout_actions_total", &held);
        (held > 0.5).then_some(())
    })
    .await;
    assert_eq!(scene.uids().await, before);
    cluster.request("DELETE", &budget, &Value::Null).await.expect("no budget");
    scene.well(3).await;
    assert_eq!(scene.templates().await, 1, "the workload stays as it is");
    scene.told("Deployment", "Evicted").await;
}

async fn nothing_is_restarted_against_anybodys_will(cluster: &Cluster) {
    let scene = Scene::new(cluster, "kept").await;
    scene.deployed(1).await;
    let before = scene.uids().await;
    scene
        .apply("{selector: {matchLabels: {app: weather}}, rollout: {strategy: OnNextRestart}}")
        .await;
    let untouched = |server: &Value| {
        server["status"]["skipped"][0]["reason"] == "NotRestarted" && is(server, "Ready", "True")
    };
    scene.until("the pod stays", untouched).await;
    let never = json!({"metadata": {"annotations": {"mcpulse.io/restart": "never"}}});
    cluster.merge(&deployment(&scene.namespace, "weather"), &never).await.expect("an annotation");
    scene.edit(&json!({"rollout": {"strategy": "RollingRestart"}})).await;
    scene.until("that is known", |server| server["status"]["observedGeneration"] == 2).await;
    // Something that takes as long as a restart would.
    let other = json!({"metadata": {"annotations": {"mcpulse.io/restart": null}}});
    assert_eq!((scene.uids().await, scene.templates().await), (before, 1));
    cluster.merge(&deployment(&scene.namespace, "weather"), &other).await.expect("an annotation");
    scene.well(1).await;
}

async fn live_configuration_and_images_reach_pods_as_they_run(cluster: &Cluster) {
    let scene = Scene::new(cluster, "live").await;
    scene.apply(SELECTS).await;
    let revision = scene.published().await;
    scene.injects().await;
    scene.deploy(3).await;
    scene.well(3).await;
    let uids = scene.uids().await;
    scene.edit(&json!({"proxy": {"logLevel": "debug"}})).await;
    let current = |generation: i64| {
        move |server: &Value| {
            server["status"]["pods"]["upToDate"] == 3
                && server["status"]["observedGeneration"] == generation
                && is(server, "Ready", "True")
        }
    };
    scene.until("they have the configuration", current(2)).await;
    for pod in scene.pods().await {
        let config = pod["metadata"]["annotations"]["mcpulse.io/config"].as_str();
        assert!(config.is_some_and(|config| config.contains("debug")), "{config:?}");
    }
    if !cluster.upgrades_in_place().await {
        return;
    }
    scene.edit(&json!({"proxy": {"image": "example.com/mcpulse-proxy:2"}})).await;
    let server = scene.until("they have the image", current(3)).await;
    assert_eq!(server["status"]["injection"]["revision"], revision.as_str());
    for pod in scene.pods().await {
        assert_eq!(pod["spec"]["initContainers"][0]["image"], "example.com/mcpulse-proxy:2");
        let statuses = &pod["status"];
        assert_eq!(statuses["initContainerStatuses"][0]["restartCount"], 1);
        assert_eq!(statuses["containerStatuses"][0]["restartCount"], 0);
    }
    // One that cannot be pulled costs one sidecar, until it is another.
    scene.edit(&json!({"proxy": {"image": format!("example.com/{BROKEN}:3")}})).await;
    let stopped = |server: &Value| condition(server, "Degraded")["reason"] == "SidecarFails";
    let server = scene.until("the upgrade stops", stopped).await;
    assert_eq!(server["status"]["workloads"][0]["rollout"], "Waiting", "{server:#}");
    assert_eq!(server["status"]["pods"]["failing"], 1, "{server:#}");
    scene.edit(&json!({"proxy": {"image": "example.com/mcpulse-proxy:4"}})).await;
    scene.until("they have another image", current(5)).await;
    assert_eq!((scene.uids().await, scene.templates().await), (uids, 1), "no pod was made anew");
}

async fn sidecars_that_fail_are_withdrawn(cluster: &Cluster) {
    let scene = Scene::new(cluster, "withdrawn").await;
    let image = format!("example.com/{BROKEN}:1");
    let spec =
        format!("{{selector: {{matchLabels: {{app: weather}}}}, proxy: {{image: '{image}'}}}}");
    scene.apply(&spec).await;
    scene.injects().await;
    scene.deploy(3).await;
    let withdrawn = |server: &Value| {
        condition(server, "Degraded")["reason"] == "Withdrawn"
            && server["status"]["pods"]["matched"] == 3
            && server["status"]["pods"]["injected"] == 0
    };
    let server = scene.until("the pods run without", withdrawn).await;
    assert_eq!(server["status"]["withdrawn"]["image"], image.as_str());
    assert_eq!(server["status"]["injection"], Value::Null);
    assert!(is(&server, "Stalled", "True"), "{server:#}");
    scene.told("McpServer", "Withdrawn").await;
    scene.edit(&json!({"proxy": {"image": "example.com/mcpulse-proxy:2"}})).await;
    let server = scene.well(3).await;
    assert_eq!(condition(&server, "Degraded"), &Value::Null);
    assert_eq!(server["status"]["withdrawn"], Value::Null);
}

async fn pods_that_were_missed_are_told_and_healed(cluster: &Cluster, operator: &Operator) {
    let scene = Scene::new(cluster, "missed").await;
    scene.apply(SELECTS).await;
    scene.injects().await;
    cluster.withhold(&scene.namespace, true).await;
    scene.injects_nothing().await;
    scene.deployed(2).await;
    let missed = |server: &Value| condition(server, "Injected")["reason"] == "NotInjecting";
    let server = scene.until("a pod was tried", missed).await;
    assert_eq!(server["status"]["skipped"][0]["reason"], "Missed", "{server:#}");
    assert_eq!(scene.templates().await, 1, "nothing is restarted before a pod is injected");
    scene.told("Deployment", "Missed").await;
    let labels = [("namespace", scene.namespace.as_str())];
    let counted = operator.scrape().await.sum("mcpulse_pods_missed_total", &labels);
    assert!((counted - 2.0).abs() < 0.5, "{counted}");
    cluster.withhold(&scene.namespace, false).await;
    scene.well(2).await;
    assert_eq!(scene.templates().await, 2);
}

async fn a_namespace_that_opts_out_is_told_and_left_alone(cluster: &Cluster) {
    let scene = Scene::new(cluster, "out").await;
    let path = format!("/api/v1/namespaces/{}", scene.namespace);
    let label = |value: Value| json!({"metadata": {"labels": {"mcpulse.io/injection": value}}});
    cluster.merge(&path, &label("disabled".into())).await.expect("a label");
    scene.deployed(2).await;
    scene.apply(SELECTS).await;
    let told = |server: &Value| {
        condition(server, "Injected")["reason"] == "NamespaceOptedOut"
            && server["status"]["pods"]["skipped"] == 2
    };
    let server = scene.until("it is told", told).await;
    assert!(is(&server, "Ready", "True") && !is(&server, "Stalled", "True"), "{server:#}");
    assert_eq!(server["status"]["skipped"][0]["reason"], "NamespaceOptedOut", "{server:#}");
    let message = condition(&server, "Injected")["message"].as_str().expect("a message");
    let (_, remedy) = message.split_once("run kubectl ").expect("a remedy");
    assert_eq!(scene.templates().await, 1);
    let mut kubectl = cluster.kubectl();
    let done = kubectl.args(remedy.split(' ')).status().await.expect("kubectl runs");
    assert!(done.success(), "{remedy}");
    scene.well(2).await;
    assert_eq!(scene.templates().await, 2, "one restart");
}

async fn an_owner_that_takes_restarts_back_is_noticed(cluster: &Cluster) {
    let scene = Scene::new(cluster, "reverted").await;
    scene.deployed(2).await;
    let path = deployment(&scene.namespace, "weather");
    scene.apply(SELECTS).await;
    let restarted = |deployment: &Value| {
        let annotations = &deployment["spec"]["template"]["metadata"]["annotations"];
        annotations["kubectl.kubernetes.io/restartedAt"].is_string().then_some(())
    };
    cluster.until("it is restarted", &path, restarted).await;
    let none = json!({"kubectl.kubernetes.io/restartedAt": null});
    let template = json!({"spec": {"template": {"metadata": {"annotations": none}}}});
    cluster.merge(&path, &template).await.expect("it takes it back");
    scene
        .until("they carry it all the same", |server| {
            server["status"]["injected"] == "2/2" && server["status"]["pods"]["ready"] == 2
        })
        .await;
    let deployment = cluster.get(&path).await.expect("the Deployment");
    assert_eq!(restarted(&deployment), None, "it is not restarted again");
}

async fn a_target_may_come_and_go(cluster: &Cluster) {
    let scene = Scene::new(cluster, "target").await;
    scene.apply("{targetRef: {kind: Deployment, name: weather}}").await;
    let gone = |server: &Value| {
        condition(server, "TargetsResolved")["reason"] == "TargetNotFound"
            && server["status"]["injection"].is_null()
    };
    let server = scene.until("it is not there", gone).await;
    assert!(is(&server, "Stalled", "True") && is(&server, "Ready", "False"), "{server:#}");
    scene.deploy(1).await;
    let server = scene.well(1).await;
    assert_eq!(server["status"]["target"], "Deployment/weather");
    let path = deployment(&scene.namespace, "weather");
    cluster.request("DELETE", &path, &Value::Null).await.expect("it goes");
    scene.until("it is not there any more", gone).await;
}

/// A Service that leads to pods with the label `app`, by names of ports, and also before there
/// are nodes for them.
async fn serve(cluster: &Cluster, namespace: &str, app: &str, ports: Value) -> String {
    let spec = json!({"selector": {"app": app}, "ports": ports, "publishNotReadyAddresses": true});
    let service = json!({"metadata": {"name": app}, "spec": spec});
    let services = format!("/api/v1/namespaces/{namespace}/services");
    cluster.post(&services, &service).await.expect("a Service");
    format!("{services}/{app}")
}

/// Waits until Services of a namespace lead to this port; all that they lead to.
async fn led_to(cluster: &Cluster, namespace: &str, port: &Value) -> Vec<Value> {
    let slices = format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices");
    let leads = |slices: &Value| {
        let slices = slices["items"].as_array()?.iter();
        let full =
            slices.filter(|slice| slice["endpoints"].as_array().is_some_and(|it| !it.is_empty()));
        let ports = full.filter_map(|slice| slice["ports"].as_array()).flatten();
        let ports: Vec<Value> = ports.map(|port| port["port"].clone()).collect();
        ports.contains(port).then_some(ports)
    };
    cluster.until(&format!("a Service leads to {port}"), &slices, leads).await
}

async fn services_find_sidecars_where_that_is_counted_on(cluster: &Cluster) {
    let scene = Scene::new(cluster, "found").await;
    let named = |name: &str, port: u16| json!({"name": name, "port": port, "targetPort": name});
    serve(cluster, &scene.namespace, "found", json!([named("own", 80), named("beside", 81)])).await;
    let container = |name: &str, port: u16| {
        let ports = json!([{"name": name, "containerPort": port}]);
        json!({"name": name, "image": "a", "ports": ports})
    };
    let mut sidecar = container("beside", 9000);
    sidecar["restartPolicy"] = "Always".into();
    let spec = json!({"containers": [container("own", 8000)], "initContainers": [sidecar]});
    let pod = json!({"metadata": {"name": "found", "labels": {"app": "found"}}, "spec": spec});
    let pods = format!("/api/v1/namespaces/{}/pods", scene.namespace);
    cluster.post(&pods, &pod).await.expect("a pod");
    let ports = led_to(cluster, &scene.namespace, &8000.into()).await;
    assert_eq!(ports.contains(&9000.into()), cluster.kubernetes.finds_sidecars(), "{ports:?}");
}

async fn a_service_that_would_lead_past_the_sidecar_holds_injection_back(cluster: &Cluster) {
    let scene = Scene::new(cluster, "numeric").await;
    let ports = json!([{"port": 80, "targetPort": 8000}]);
    let service = serve(cluster, &scene.namespace, "weather", ports).await;
    cluster.apply(&manifest(&scene.namespace, "weather", SELECTS).to_string()).await;
    let by_name = cluster.kubernetes.finds_sidecars();
    let wanted = if by_name { "NumericTargetPort" } else { "NamedPortUnsupported" };
    let said = |server: &Value| condition(server, "Ready")["reason"] == wanted;
    scene.until("it says so", said).await;
    scene.deployed(1).await;
    if by_name {
        let named = json!({"spec": {"ports": [{"port": 80, "targetPort": "mcp"}]}});
        cluster.merge(&service, &named).await.expect("a name");
    } else {
        scene.edit(&json!({"transport": {"http": {"takeover": "PodIP"}}})).await;
    }
    scene.well(1).await;
    let ports = scene.pods().await[0]["spec"]["initContainers"][0]["ports"].clone();
    let mut ports = ports.as_array().into_iter().flatten();
    let taken = ports.find(|port| port["name"] == "mcp").map(|port| port["containerPort"].clone());
    assert_eq!(taken.is_some(), by_name);
    led_to(cluster, &scene.namespace, &taken.unwrap_or(8000.into())).await;
}

#[tokio::test]
async fn an_operator_of_one_namespace_needs_no_rights_in_others() {
    let cluster = Cluster::with_workloads().await;
    let (own, other) = (Scene::new(&cluster, "own").await, Scene::new(&cluster, "other").await);
    let rights = Operator::rights(&cluster, Some(&own.namespace)).await;
    let operator =
        Operator::with(&cluster, &rights, "one", &["--watch-namespace", &own.namespace]).await;
    other.apply(SELECTS).await;
    own.deployed(1).await;
    own.apply(SELECTS).await;
    own.well(1).await;
    let there = cluster.get(&server_path(&other.namespace)).await.expect("the McpServer");
    assert_eq!(there["status"], Value::Null);
    operator.assert_allowed().await;
}

#[tokio::test]
async fn the_operator_does_what_is_asked_for() {
    let cluster = Cluster::with_workloads().await;
    let rights = Operator::rights(&cluster, None).await;
    let mut operator = Operator::with(&cluster, &rights, "one", &["--max-rollouts", "20"]).await;
    // By itself: what injects may leave all namespaces alone meanwhile.
    pods_that_were_missed_are_told_and_healed(&cluster, &operator).await;
    tokio::join!(
        new_pods_are_injected_and_counted(&cluster),
        a_workload_that_runs_is_restarted_once(&cluster),
        pods_are_evicted_where_that_is_asked_for(&cluster, &operator),
        nothing_is_restarted_against_anybodys_will(&cluster),
        live_configuration_and_images_reach_pods_as_they_run(&cluster),
        sidecars_that_fail_are_withdrawn(&cluster),
        a_namespace_that_opts_out_is_told_and_left_alone(&cluster),
        an_owner_that_takes_restarts_back_is_noticed(&cluster),
        a_target_may_come_and_go(&cluster),
        a_service_that_would_lead_past_the_sidecar_holds_injection_back(&cluster),
        services_find_sidecars_where_that_is_counted_on(&cluster),
    );
    operator.assert_allowed().await;
    operator.stop().await;
    let lease = "/apis/coordination.k8s.io/v1/namespaces/mcpulse-system/leases/mcpulse-operator";
    let lease = cluster.get(lease).await.expect("the lease");
    assert_eq!(lease["spec"]["holderIdentity"], Value::Null, "it was given back");
}
