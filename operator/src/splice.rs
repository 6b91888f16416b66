//! Puts an [`Injection`] into a pod, or says why not. The pod stays JSON: only what changes is
//! written, by targeted operations, so that fields of newer clusters survive.
//!
//! ARCHITECTURE.md specifies every step; the policy in CEL does the same.

use json_patch::Patch;
use serde_json::{Value, json};

use crate::crd::Injection;

mod app;
mod class;
mod command;
mod edits;
mod gate;
mod limits;
mod pod;
mod port;
mod skip;

use app::App;
use class::Class;
use edits::Edits;
pub use skip::Skip;

/// Containers of meshes, which are no server. Behind their init containers the sidecar stands when
/// they come first: what they set up is for every container that starts later.
pub(crate) const MESH: [&str; 8] = [
    "istio-init",
    "istio-proxy",
    "istio-validation",
    "kuma-init",
    "kuma-sidecar",
    "linkerd-init",
    "linkerd-network-validator",
    "linkerd-proxy",
];

/// The operations that put the sidecar into the pod.
///
/// # Errors
/// Why the pod stays as it is.
pub fn splice(pod: &Value, injection: &Injection) -> Result<Patch, Skip> {
    gate::open(pod)?;
    let app = App::find(pod, injection)?;
    let port = port::plan(pod, &app, injection)?;
    gate::names(pod, injection)?;
    gate::mounts(&app, injection)?;
    let mut edits = Edits::new(pod);
    command::wrap(&app, injection, &mut edits)?;
    command::tell(&app, injection, &port, &mut edits)?;
    gate::rest(pod)?;
    let class = class::of(pod);
    limits::room(pod, class, injection)?;
    port::edit(&app, &port, &mut edits);
    for mount in &injection.mounts {
        edits.append(&app.path(&["volumeMounts"]), json!(mount));
    }
    let sidecar = sidecar(pod, class, injection, &port);
    edits.insert(&["spec", "initContainers"], behind_mesh(pod), sidecar);
    for volume in &injection.volumes {
        edits.append(&["spec", "volumes"], volume.clone());
    }
    for secret in &injection.image_pull_secrets {
        let taken = pod::list(&pod["spec"], "imagePullSecrets");
        if !taken.iter().any(|one| one["name"] == secret.name.as_str()) {
            edits.append(&["spec", "imagePullSecrets"], json!(secret));
        }
    }
    for (key, value) in &injection.labels {
        edits.set(&["metadata", "labels"], key, value);
    }
    for (key, value) in &injection.annotations {
        edits.set(&["metadata", "annotations"], key, value);
    }
    let taken = |key: &String| pod["metadata"]["annotations"].get(key).is_some();
    if !injection.default_annotations.keys().any(taken) {
        for (key, value) in &injection.default_annotations {
            edits.set(&["metadata", "annotations"], key, value);
        }
    }
    Ok(edits.patch())
}

/// The sidecar with what only the pod knows.
fn sidecar(pod: &Value, class: Class, injection: &Injection, port: &port::Plan) -> Value {
    let mut sidecar = injection.sidecar.clone();
    if let Some(env) = sidecar["env"].as_array_mut() {
        let slot = |name: &str, number: Option<u16>| {
            Some(json!({"name": name, "value": number?.to_string()}))
        };
        let slots = [slot("MCPULSE_APP_PORT", port.app), slot("MCPULSE_LISTEN_PORT", port.listen)];
        env.splice(0..0, slots.into_iter().flatten());
    }
    if let (Some(ports), Some(own)) = (sidecar["ports"].as_array_mut(), &port.own) {
        ports.push(own.clone());
    }
    let resources = class.resources(&injection.resources);
    sidecar["resources"] = json!(resources);
    if pod["spec"]["securityContext"]["runAsUser"] == 0 {
        sidecar["securityContext"]["runAsUser"] = injection.user.into();
    }
    sidecar
}

/// The place of the sidecar among the init containers.
fn behind_mesh(pod: &Value) -> usize {
    let init = pod::list(&pod["spec"], "initContainers");
    let mesh = |one: &&Value| one["name"].as_str().is_some_and(|name| MESH.contains(&name));
    init.iter().take_while(mesh).count()
}

#[cfg(test)]
mod tests;
