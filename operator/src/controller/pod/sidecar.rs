//! The sidecar of a pod, as its spec and its status have it.

use serde_json::Value;

use super::is_sidecar;

/// What the kubelet says while a container cannot start.
const CANNOT_START: [&str; 8] = [
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "RunContainerError",
];

/// The sidecar of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::controller) struct Sidecar {
    /// Its place among the init containers.
    pub(in crate::controller) place: usize,
    /// The image that it is to run.
    pub(in crate::controller) image: String,
    /// The image that it runs, as the node calls it.
    pub(in crate::controller) runs: Option<String>,
    /// How often it was started anew.
    pub(in crate::controller) restarts: i64,
    /// How it is.
    pub(in crate::controller) health: Health,
}

/// How a sidecar is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::controller) enum Health {
    /// It starts, or waits for its upstream.
    Starting,
    /// It serves.
    Ready,
    /// It cannot start, and what the kubelet says of it.
    Failing(String),
}

impl Sidecar {
    /// The sidecar, if there is one.
    pub(super) fn of(spec: &Value, status: &Value) -> Option<Self> {
        let containers = spec["initContainers"].as_array()?;
        let place = containers.iter().position(is_sidecar)?;
        let image = containers[place]["image"].as_str().unwrap_or_default().to_owned();
        let statuses = status["initContainerStatuses"].as_array();
        let status = statuses.and_then(|statuses| statuses.iter().find(|one| is_sidecar(one)));
        let text =
            |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        Some(Self {
            place,
            image,
            runs: status.and_then(|status| text(&status["image"])),
            restarts: status.and_then(|it| it["restartCount"].as_i64()).unwrap_or_default(),
            health: status.map_or(Health::Starting, health),
        })
    }

    /// Whether it fails.
    pub(in crate::controller) fn is_failing(&self) -> bool {
        matches!(self.health, Health::Failing(_))
    }

    /// Whether it serves.
    pub(in crate::controller) fn is_ready(&self) -> bool {
        self.health == Health::Ready
    }

    /// Whether it runs the image that it is to run. Nodes write names out
    /// (`docker.io/library/a:1` for `a:1`), and may have several for one image; `before` are the
    /// restarts that it had when it was given the image.
    pub(in crate::controller) fn runs_its_image(&self, before: Option<i64>) -> bool {
        let named = self.runs.as_ref().is_some_and(|runs| {
            *runs == self.image
                || runs.strip_suffix(self.image.as_str()).is_some_and(|rest| rest.ends_with('/'))
        });
        named || before.is_some_and(|before| self.restarts > before)
    }
}

fn health(status: &Value) -> Health {
    let waiting = &status["state"]["waiting"];
    let reason = waiting["reason"].as_str().unwrap_or_default();
    if CANNOT_START.contains(&reason) {
        let message = waiting["message"].as_str().unwrap_or_default();
        let message: String = message.chars().take(256).collect();
        let said =
            if message.is_empty() { reason.to_owned() } else { format!("{reason}: {message}") };
        return Health::Failing(said);
    }
    if status["ready"] == true { Health::Ready } else { Health::Starting }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sidecar(status: &Value) -> Sidecar {
        let containers = json!([{"name": "init"}, {"name": "mcpulse-proxy", "image": "a/b:2"}]);
        let mut status = status.clone();
        status["name"] = "mcpulse-proxy".into();
        let status = json!({"initContainerStatuses": [{"name": "init"}, status]});
        Sidecar::of(&json!({"initContainers": containers}), &status).unwrap()
    }

    #[test]
    fn it_is_found_with_its_state() {
        let running = sidecar(&json!({"ready": true, "image": "a/b:2", "restartCount": 1}));
        assert_eq!((running.place, running.restarts), (1, 1));
        assert!(running.is_ready() && running.runs_its_image(None));
        let failing = json!({"ready": false, "state": {"waiting": {"reason": "ErrImagePull"}}});
        assert!(sidecar(&failing).is_failing());
        let pulling = json!({"state": {"waiting": {"reason": "PodInitializing"}}});
        assert_eq!(sidecar(&pulling).health, Health::Starting);
        assert_eq!(Sidecar::of(&json!({"containers": []}), &json!({})), None);
    }

    #[test]
    fn nodes_have_names_of_their_own_for_images() {
        let runs = |image: &str, restarts: i64, before| {
            sidecar(&json!({"image": image, "restartCount": restarts})).runs_its_image(before)
        };
        assert!(runs("docker.io/a/b:2", 0, None));
        assert!(!runs("docker.io/xa/b:2", 0, None) && !runs("a/b:1", 0, None));
        assert!(!runs("a/b:1", 3, Some(3)) && runs("a/b:latest", 4, Some(3)));
    }
}
