//! When pods get the sidecar, and how pods that run already come to have it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether and how strictly pods get the sidecar.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Admission {
    /// Whether new pods get the sidecar. Disabled, those that have it keep it until they end.
    pub mode: InjectionMode,
    /// What becomes of a pod that cannot get it. Ignore: it starts without, and the status says
    /// why. Fail: it is refused, unless it opts out.
    pub failure_policy: FailurePolicy,
}

/// Whether new pods get the sidecar.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum InjectionMode {
    /// They do.
    #[default]
    Enabled,
    /// They do not.
    Disabled,
}

/// What becomes of a pod that cannot get the sidecar.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailurePolicy {
    /// It starts without, and the status says why.
    #[default]
    Ignore,
    /// It is refused. Pods that opt out start all the same.
    Fail,
}

/// How pods that run already come to have the sidecar, and its newer versions.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rollout {
    /// What happens to pods that run without the sidecar, or with one of another spec.
    /// RollingRestart: their workload is restarted, as kubectl rollout restart does. EvictPods:
    /// they are evicted one after another, within disruption budgets. OnNextRestart: nothing.
    pub strategy: RolloutStrategy,
    /// What happens to pods that run with another image of the sidecar. InPlace: only the
    /// sidecar restarts, with the new image (Kubernetes 1.32). OnNextRestart: nothing.
    pub upgrade: UpgradeStrategy,
    /// Pods of one workload that may be without service at once, for EvictPods and InPlace.
    #[schemars(range(min = 1, max = 1000))]
    pub max_unavailable: u32,
    /// Leave pods that run as they are.
    pub paused: bool,
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            strategy: RolloutStrategy::default(),
            upgrade: UpgradeStrategy::default(),
            max_unavailable: 1,
            paused: false,
        }
    }
}

/// What happens to pods that run without the sidecar.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RolloutStrategy {
    /// Their workload is restarted, as `kubectl rollout restart` does.
    #[default]
    RollingRestart,
    /// They are evicted one after another, within disruption budgets.
    EvictPods,
    /// Nothing: they get it when something else restarts them.
    OnNextRestart,
}

/// What happens to pods that run with another image of the sidecar.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpgradeStrategy {
    /// Only the sidecar restarts, with the new image. Needs Kubernetes 1.32.
    #[default]
    InPlace,
    /// Nothing: they get it when something else restarts them.
    OnNextRestart,
}
