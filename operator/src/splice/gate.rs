//! What must hold of a pod, whatever the server is.

use serde_json::Value;

use super::{
    app::App,
    pod::{containers, list, name},
    skip::Skip,
};
use crate::crd::{
    Injection,
    injection::{CONTAINER, OPT_OUT, REVISION},
};

/// Whether the pod can be looked at at all.
pub(super) fn open(pod: &Value) -> Result<(), Skip> {
    let (metadata, spec) = (&pod["metadata"], &pod["spec"]);
    let ours = |one: &Value| name(one) == CONTAINER;
    if metadata["annotations"][REVISION].is_string() && containers(pod).any(ours) {
        return Err(Skip::AlreadyInjected);
    }
    if ["labels", "annotations"].iter().any(|place| metadata[place][OPT_OUT] == "disabled") {
        return Err(Skip::OptedOut);
    }
    if spec["hostNetwork"] == true {
        return Err(Skip::HostNetwork);
    }
    if spec["os"]["name"] == "windows" || spec["nodeSelector"]["kubernetes.io/os"] == "windows" {
        return Err(Skip::Windows);
    }
    Ok(())
}

/// Whether the names that come in are free.
pub(super) fn names(pod: &Value, injection: &Injection) -> Result<(), Skip> {
    if containers(pod).any(|one| name(one) == CONTAINER) {
        return Err(Skip::NameTaken(format!("a container {CONTAINER}")));
    }
    let volumes = list(&pod["spec"], "volumes");
    let taken = |ours: &&Value| volumes.iter().any(|one| one["name"] == ours["name"]);
    match injection.volumes.iter().find(taken) {
        Some(ours) => Err(Skip::NameTaken(format!("a volume {}", name(ours)))),
        None => Ok(()),
    }
}

/// Whether the paths are free at which something comes into the server's container.
pub(super) fn mounts(app: &App<'_>, injection: &Injection) -> Result<(), Skip> {
    let paths = list(app.container, "volumeMounts").iter().map(|mount| &mount["mountPath"]);
    let devices = list(app.container, "volumeDevices").iter().map(|device| &device["devicePath"]);
    let paths: Vec<&str> = paths.chain(devices).filter_map(Value::as_str).collect();
    let taken = |path: &&str| {
        let bare = path.strip_suffix('/').unwrap_or(path);
        injection.mounts.iter().any(|ours| ours.mount_path == bare)
    };
    match paths.into_iter().find(taken) {
        Some(path) => {
            Err(Skip::MountTaken { container: app.name().to_owned(), path: path.to_owned() })
        }
        None => Ok(()),
    }
}

/// What is looked at last.
pub(super) fn rest(pod: &Value) -> Result<(), Skip> {
    if pod["spec"]["resources"].as_object().is_some_and(|resources| !resources.is_empty()) {
        return Err(Skip::PodResources);
    }
    if !pod["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_null() {
        return Err(Skip::MirrorPod);
    }
    Ok(())
}
