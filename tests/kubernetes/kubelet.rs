//! Plays the kubelet: says of pods that they run, and of sidecars that they run their image.

use std::time::Duration;

use kube::Client;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// Between two looks at the pods.
const PAUSE: Duration = Duration::from_millis(50);
/// A part of the name of images that cannot be pulled.
pub(crate) const BROKEN: &str = "broken";

/// Has the pods of a namespace run until dropped.
pub(crate) struct Kubelet(JoinHandle<()>);

impl Kubelet {
    /// Begins.
    pub(crate) fn of(client: Client, namespace: &str) -> Self {
        let path = format!("/api/v1/namespaces/{namespace}/pods");
        Self(tokio::spawn(async move {
            loop {
                // The API server may be away.
                if let Ok(pods) = get(&client, &path).await {
                    for pod in pods["items"].as_array().into_iter().flatten() {
                        let status = status(pod);
                        if !agrees(&pod["status"], &status) {
                            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
                            let path = format!("{path}/{name}/status");
                            let _ = put(&client, &path, &json!({"status": status})).await;
                        }
                    }
                }
                tokio::time::sleep(PAUSE).await;
            }
        }))
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn get(client: &Client, path: &str) -> kube::Result<Value> {
    client.request(http::Request::get(path).body(Vec::new()).expect("a request")).await
}

async fn put(client: &Client, path: &str, change: &Value) -> kube::Result<Value> {
    let request = http::Request::patch(path);
    let request = request.header("content-type", "application/merge-patch+json");
    client.request(request.body(change.to_string().into_bytes()).expect("a request")).await
}

/// What a pod's status is to be.
fn status(pod: &Value) -> Value {
    let (mut ready, now) = (true, "2026-01-01T00:00:00Z");
    let mut statuses = |list: &str, of: &str| -> Vec<Value> {
        let earlier = pod["status"][of].as_array().cloned().unwrap_or_default();
        let containers = pod["spec"][list].as_array().into_iter().flatten();
        let status = |container: &Value| {
            let image = container["image"].as_str().unwrap_or_default();
            let was = earlier.iter().find(|one| one["name"] == container["name"]);
            let same = was.is_none_or(|was| was["image"] == container["image"]);
            let restarts = was.map_or(0, |was| was["restartCount"].as_i64().unwrap_or(0));
            let runs = !image.contains(BROKEN);
            ready &= runs;
            let state = if runs {
                json!({"running": {"startedAt": now}, "waiting": null})
            } else {
                json!({"running": null, "waiting": {"reason": "ImagePullBackOff", "message": image}})
            };
            json!({
                "name": container["name"],
                "image": image,
                "imageID": image,
                "ready": runs,
                "started": runs,
                "restartCount": restarts + i64::from(!same),
                "state": state,
            })
        };
        containers.map(status).collect()
    };
    let init = statuses("initContainers", "initContainerStatuses");
    let containers = statuses("containers", "containerStatuses");
    let is = if ready { "True" } else { "False" };
    json!({
        "phase": if ready { "Running" } else { "Pending" },
        "podIP": "10.1.0.1",
        "podIPs": [{"ip": "10.1.0.1"}],
        "conditions": [{"type": "Ready", "status": is, "lastTransitionTime": now}],
        "initContainerStatuses": init,
        "containerStatuses": containers,
    })
}

/// Whether a status has all that it is to have.
fn agrees(there: &Value, wanted: &Value) -> bool {
    match (there, wanted) {
        (Value::Object(there), Value::Object(wanted)) => wanted
            .iter()
            .all(|(key, wanted)| agrees(there.get(key).unwrap_or(&Value::Null), wanted)),
        (Value::Null, Value::Array(wanted)) => wanted.is_empty(),
        (Value::Array(there), Value::Array(wanted)) => {
            there.len() == wanted.len() && there.iter().zip(wanted).all(|(a, b)| agrees(a, b))
        }
        _ => there == wanted,
    }
}
