//! Tries pods out before anything depends on them, by dry runs: that a pod with the sidecar would
//! be accepted, and that a pod without it comes back with it.

use json_patch::patch;
use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment, StatefulSet},
    batch::v1::CronJob,
    core::v1::Pod,
};
use kube::{
    Client, Resource,
    api::{GetParams, PostParams},
    core::Request,
};
use serde_json::{Value, json};

use super::{
    apply::MANAGER,
    gather::{Gathered, Owner},
};
use crate::{
    answer,
    crd::{
        Finding, Injection,
        condition::{ConditionType, Reason},
        injection::REVISION,
    },
    splice, witness,
};

/// The volumes that the API server adds to each pod.
const TOKEN: &str = "kube-api-access-";

/// Whether pods with what is to be injected would be accepted: one of a workload that has fewer
/// than it wants, or else one that can have the sidecar.
pub(super) async fn accepted(
    client: &Client,
    gathered: &Gathered,
    injection: &Injection,
) -> kube::Result<Result<(), Finding>> {
    let short = gathered.short.first();
    let mut sample = match sample(client, gathered).await? {
        Some(sample) if short.is_some() || splice::splice(&sample, injection).is_ok() => sample,
        _ => witness::pod(injection),
    };
    let Ok(changes) = splice::splice(&sample, injection) else {
        // Of a pod that fits, which leaves what no pod fits: it skips them all.
        return Ok(Ok(()));
    };
    let plain = sample.clone();
    if let Err(error) = patch(&mut sample, &changes) {
        return Ok(Err(refused(&error.to_string())));
    }
    let Some(why) = refusal(dry_run(client, &gathered.namespace, &sample).await)? else {
        return Ok(Ok(()));
    };
    let without = refusal(dry_run(client, &gathered.namespace, &plain).await)?;
    Ok(match (short, without) {
        // What other pods use of a quota, their sidecars use as well.
        (Some(short), _) if why.contains("exceeded quota") => Err(exhausted(short, &why)),
        (_, None) => Err(refused(&why)),
        // A pod that would be refused all the same is not refused because of the sidecar.
        (_, Some(_)) => Ok(()),
    })
}

/// Whether a pod like those of this owner comes back with the sidecar.
pub(super) async fn injected(
    client: &Client,
    gathered: &Gathered,
    owner: &Owner,
    injection: &Injection,
) -> kube::Result<Result<(), Finding>> {
    let Some(sample) = like(client, gathered, owner).await? else {
        return Ok(Err(not_injecting(owner, "there is none any more")));
    };
    let told = dry_run(client, &gathered.namespace, &sample).await;
    Ok(match told {
        Ok(pod) if pod["metadata"]["annotations"][REVISION] == injection.revision.as_str() => {
            Ok(())
        }
        Ok(_) => Err(not_injecting(owner, "it came back without the sidecar")),
        Err(error) => match refusal(Err(error))? {
            Some(why) => Err(not_injecting(owner, &why)),
            None => Ok(()),
        },
    })
}

/// A pod without the sidecar like those that are meant.
async fn sample(client: &Client, gathered: &Gathered) -> kube::Result<Option<Value>> {
    let named = gathered
        .server
        .spec
        .target_ref
        .as_ref()
        .map(|named| Owner { kind: named.kind.name().to_owned(), name: named.name.clone() });
    let short = gathered.short.first();
    match short.or(named.as_ref()).or_else(|| gathered.groups.keys().next()) {
        Some(owner) => like(client, gathered, owner).await,
        None => Ok(None),
    }
}

/// A pod without the sidecar like those of this owner.
async fn like(client: &Client, gathered: &Gathered, owner: &Owner) -> kube::Result<Option<Value>> {
    let namespace = Some(gathered.namespace.as_str());
    let url = match owner.kind.as_str() {
        "Deployment" => Deployment::url_path(&(), namespace),
        "StatefulSet" => StatefulSet::url_path(&(), namespace),
        "DaemonSet" => DaemonSet::url_path(&(), namespace),
        "CronJob" => CronJob::url_path(&(), namespace),
        _ => {
            let pods = gathered.groups.get(owner).into_iter().flat_map(|group| &group.pods);
            let Some(pod) = pods.into_iter().find(|pod| pod.sidecar.is_none()) else {
                return Ok(None);
            };
            let url = Pod::url_path(&(), namespace);
            return Ok(get(client, &url, pod.name()).await?.map(|pod| bare(&pod)));
        }
    };
    let Some(workload) = get(client, &url, &owner.name).await? else { return Ok(None) };
    let spec = &workload["spec"];
    let template = match owner.kind.as_str() {
        "CronJob" => &spec["jobTemplate"]["spec"]["template"],
        _ => &spec["template"],
    };
    let mut pod = bare(template);
    // What a StatefulSet claims for each of its pods.
    for claim in spec["volumeClaimTemplates"].as_array().into_iter().flatten() {
        let volume = json!({"name": claim["metadata"]["name"], "emptyDir": {}});
        match pod["spec"]["volumes"].as_array_mut() {
            Some(volumes) => volumes.push(volume),
            None => pod["spec"]["volumes"] = json!([volume]),
        }
    }
    Ok(Some(pod))
}

/// A pod, or the template of one, as it would be created.
fn bare(of: &Value) -> Value {
    let metadata = &of["metadata"];
    let mut spec = of["spec"].clone();
    if let Some(spec) = spec.as_object_mut() {
        spec.remove("nodeName");
        spec.remove("ephemeralContainers");
    }
    let ours = |entry: &Value| !entry["name"].as_str().is_some_and(|it| it.starts_with(TOKEN));
    if let Some(volumes) = spec["volumes"].as_array_mut() {
        volumes.retain(ours);
    }
    for list in ["containers", "initContainers"] {
        for container in spec[list].as_array_mut().into_iter().flatten() {
            if let Some(mounts) = container["volumeMounts"].as_array_mut() {
                mounts.retain(ours);
            }
        }
    }
    pod(&metadata["labels"], &metadata["annotations"], &spec)
}

fn pod(labels: &Value, annotations: &Value, spec: &Value) -> Value {
    let metadata = json!({
        "generateName": "mcpulse-dry-run-", "labels": labels, "annotations": annotations,
    });
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
}

async fn get(client: &Client, url: &str, name: &str) -> kube::Result<Option<Value>> {
    let request = Request::new(url).get(name, &GetParams::default());
    let request = request.map_err(kube::Error::BuildRequest)?;
    match client.request(request).await {
        Ok(found) => Ok(Some(found)),
        Err(error) if answer::is(&error, 404) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn dry_run(client: &Client, namespace: &str, pod: &Value) -> kube::Result<Value> {
    let params = PostParams { dry_run: true, field_manager: Some(MANAGER.to_owned()) };
    let body = serde_json::to_vec(pod).map_err(kube::Error::SerdeError)?;
    let request = Request::new(Pod::url_path(&(), Some(namespace))).create(&params, body);
    client.request(request.map_err(kube::Error::BuildRequest)?).await
}

/// Why a pod is refused. Anything else that is wrong is an error.
fn refusal(told: kube::Result<Value>) -> kube::Result<Option<String>> {
    match told {
        Ok(_) => Ok(None),
        // Not the pod's fault: the operator may not, or the API server is busy, as with a quota
        // that others use at the same time (409).
        Err(kube::Error::Api(status))
            if [400, 403, 422].contains(&status.code)
                && !status.message.contains("cannot create resource") =>
        {
            Ok(Some(status.message.clone()))
        }
        Err(error) => Err(error),
    }
}

fn refused(why: &str) -> Finding {
    let why: String = why.chars().take(512).collect();
    let message = format!(
        "the API server accepts a pod of this namespace as it is, and refuses it with the \
         sidecar, so it is not injected: {why}; allow it (a quota, a limit or a policy of the \
         namespace), or change spec.proxy.resources"
    );
    Finding::new(ConditionType::Accepted, Reason::PodRefused, message)
}

fn exhausted(Owner { kind, name }: &Owner, why: &str) -> Finding {
    let why: String = why.chars().take(512).collect();
    let message = format!(
        "{kind} {name} does not get all its pods, for a quota of the namespace is used up, and \
         sidecars use it too: {why}; raise the quota, lower spec.proxy.resources, or give pods that \
         are to go without the label mcpulse.io/inject: disabled"
    );
    Finding::new(ConditionType::Accepted, Reason::PodRefused, message)
}

fn not_injecting(owner: &Owner, why: &str) -> Finding {
    let why: String = why.chars().take(512).collect();
    let Owner { kind, name } = owner;
    let message = format!(
        "a pod like those of {kind} {name} was tried, and {why}; nothing is restarted before one \
         gets the sidecar; is the policy installed (mcpulse-operator policy | kubectl apply -f -)?"
    );
    Finding::new(ConditionType::Injected, Reason::NotInjecting, message)
}
