//! Writes to the cluster: the status by server-side apply, and to pods and workloads the one
//! field that a deed is about, never over what has changed since it was read.

use std::fmt::Debug;

use json_patch::{
    AddOperation, Patch as JsonPatch, PatchOperation, ReplaceOperation, TestOperation,
    jsonptr::PointerBuf,
};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::{DaemonSet, Deployment, StatefulSet},
        core::v1::Pod as Full,
    },
    jiff::Timestamp,
};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, EvictParams, Patch, PatchParams, Preconditions},
    core::PartialObjectMeta,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{
    gather::Gathered,
    plan,
    pod::{Pod, RESTARTED_AT, UPGRADED},
    workload::{RESTARTED_FOR, RestartedFor, Workload},
};
use crate::crd::{
    Injection, McpServer, McpServerStatus, TargetKind,
    injection::{CONFIG, CONTAINER},
};

/// Who writes, as the API server notes it beside each field.
pub(super) const MANAGER: &str = "mcpulse-operator";

/// Writes a status.
pub(super) async fn status(
    client: &Client,
    gathered: &Gathered,
    status: &McpServerStatus,
) -> kube::Result<()> {
    let api: Api<McpServer> = Api::namespaced(client.clone(), &gathered.namespace);
    let server = json!({
        "apiVersion": McpServer::api_version(&()),
        "kind": McpServer::kind(&()),
        // Not that of another that has the name by now.
        "metadata": {"name": gathered.name, "uid": gathered.server.metadata.uid},
        "status": status,
    });
    let params = PatchParams::apply(MANAGER).force();
    api.patch_status(&gathered.name, &params, &Patch::Apply(server)).await.map(drop)
}

/// Gives the sidecar of a pod its live configuration.
pub(super) async fn configure(
    client: &Client,
    namespace: &str,
    pod: &Pod,
    injection: &Injection,
) -> kube::Result<()> {
    let live = injection.annotations.get(CONFIG);
    let change = json!({"metadata": {"uid": pod.meta().uid, "annotations": {CONFIG: live}}});
    merge::<Full>(client, namespace, pod.name(), &change).await
}

/// Gives the sidecar of a pod its image, and its live configuration.
pub(super) async fn upgrade(
    client: &Client,
    namespace: &str,
    pod: &Pod,
    injection: &Injection,
) -> kube::Result<()> {
    let Some(sidecar) = &pod.sidecar else { return Ok(()) };
    let place = sidecar.place.to_string();
    let container = ["spec", "initContainers", &place];
    let at = |member: &str| PointerBuf::from_tokens([&container[..], &[member]].concat());
    let annotation = |key: &str| PointerBuf::from_tokens(["metadata", "annotations", key]);
    let uid = PointerBuf::from_tokens(["metadata", "uid"]);
    let test = |path, value| PatchOperation::Test(TestOperation { path, value });
    let add = |path, value| PatchOperation::Add(AddOperation { path, value });
    let image = Value::from(plan::image(injection));
    let mut changes = vec![
        test(uid, json!(pod.meta().uid)),
        test(at("name"), CONTAINER.into()),
        test(at("image"), sidecar.image.as_str().into()),
        PatchOperation::Replace(ReplaceOperation { path: at("image"), value: image }),
        add(annotation(UPGRADED), sidecar.restarts.to_string().into()),
    ];
    if let Some(live) = injection.annotations.get(CONFIG) {
        changes.push(add(annotation(CONFIG), live.as_str().into()));
    }
    let api: Api<PartialObjectMeta<Full>> = Api::namespaced(client.clone(), namespace);
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let patch = Patch::Json::<()>(JsonPatch(changes));
    api.patch(pod.name(), &params, &patch).await.map(drop)
}

/// Has a workload make its pods anew, as `kubectl rollout restart` does.
pub(super) async fn restart(
    client: &Client,
    namespace: &str,
    workload: &Workload,
    injection: &Injection,
) -> kube::Result<()> {
    let at = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let again = workload.restarted_for.as_ref();
    let again = again.is_some_and(|earlier| earlier.revision == injection.revision);
    let told = RestartedFor { revision: injection.revision.clone(), at: at.clone(), again };
    let metadata = json!({
        "uid": workload.uid,
        "resourceVersion": workload.resource_version,
        "annotations": {RESTARTED_FOR: told.text()},
    });
    let template = json!({"metadata": {"annotations": {RESTARTED_AT: at}}});
    let change = json!({"metadata": metadata, "spec": {"template": template}});
    let name = workload.name.as_str();
    match workload.kind {
        TargetKind::Deployment => merge::<Deployment>(client, namespace, name, &change).await,
        TargetKind::StatefulSet => merge::<StatefulSet>(client, namespace, name, &change).await,
        TargetKind::DaemonSet => merge::<DaemonSet>(client, namespace, name, &change).await,
        // Its next run gets what there is.
        TargetKind::CronJob => Ok(()),
    }
}

/// Evicts a pod, if disruption budgets allow it.
pub(super) async fn evict(client: &Client, namespace: &str, pod: &Pod) -> kube::Result<()> {
    let api: Api<Full> = Api::namespaced(client.clone(), namespace);
    let preconditions = Preconditions { uid: pod.meta().uid.clone(), ..Preconditions::default() };
    let delete = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    let params = EvictParams { delete_options: Some(delete), ..EvictParams::default() };
    api.evict(pod.name(), &params).await.map(drop)
}

/// Writes some fields; all that comes back is metadata.
async fn merge<K>(client: &Client, namespace: &str, name: &str, change: &Value) -> kube::Result<()>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug,
    PartialObjectMeta<K>: DeserializeOwned,
{
    let api: Api<PartialObjectMeta<K>> = Api::namespaced(client.clone(), namespace);
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    api.patch(name, &params, &Patch::Merge(change)).await.map(drop)
}
