//! Where things are in the sidecar, and the volumes that put them there.

use serde_json::{Value, json};

use super::Defaults;
use crate::crd::{
    McpServer,
    injection::CONFIG,
    telemetry::{Mcpulse, SecretKey},
    transport::Spoken,
};

/// The file with the live configuration, written by the kubelet whenever the annotation changes.
pub(super) const CONFIG_FILE: &str = "/etc/mcpulse/proxy.yaml";
/// Its directory, mounted as a whole: a file that is mounted alone never changes.
pub(super) const CONFIG_AT: &str = "/etc/mcpulse";
/// The volume below it.
pub(super) const CONFIG_VOLUME: &str = "mcpulse-config";
/// The directory of keys.
pub(super) const SECRETS_AT: &str = "/var/run/mcpulse/secrets";
/// The volume below it.
pub(super) const SECRETS: &str = "mcpulse-secrets";
/// Where the kubelet puts a service account's token unless something is there.
pub(super) const TOKEN_AT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// The empty volume that is there.
pub(super) const NO_TOKEN: &str = "mcpulse-no-token";
/// The directory that sidecar and server share, for the shim and its socket.
pub(super) const RUN_AT: &str = "/mcpulse";
/// The volume below it.
pub(super) const RUN: &str = "mcpulse-run";
/// The program that starts a server on standard streams once for each session.
pub(super) const SHIM: &str = "/mcpulse/shim";
/// The socket at which it is told to.
pub(super) const SOCKET: &str = "/mcpulse/mcp.sock";

/// The file of the API key, below [`SECRETS_AT`].
const API_KEY: &str = "mcpulse-api-key";

/// Where the API key is.
pub(super) fn api_key() -> String {
    format!("{SECRETS_AT}/{API_KEY}")
}

/// Where the value of an OTLP header is.
pub(super) fn header(name: &str) -> String {
    format!("{SECRETS_AT}/otlp-{}", name.to_ascii_lowercase())
}

/// The entry of a Secret with the API key. That of the operator's own MCPulse is for no other.
pub(super) fn mcpulse_key<'a>(said: &'a Mcpulse, defaults: &'a Defaults) -> Option<&'a SecretKey> {
    let own = defaults.mcpulse_key.as_ref().filter(|_| said.url.is_none());
    said.api_key_secret_ref.as_ref().or(own).filter(|_| said.enabled)
}

/// The entries of Secrets that the sidecar uses, and the files that hold them.
pub(super) fn secrets<'a>(
    server: &'a McpServer,
    defaults: &'a Defaults,
) -> Vec<(&'a SecretKey, String)> {
    let telemetry = &server.spec.telemetry;
    let key = mcpulse_key(&telemetry.mcpulse, defaults).into_iter();
    let key = key.map(|entry| (entry, api_key()));
    let headers = telemetry.otlp.headers.iter().filter(|_| telemetry.otlp.endpoint.is_some());
    key.chain(headers.map(|one| (&one.secret_ref, header(&one.name)))).collect()
}

/// The volumes of the pod.
pub(super) fn volumes(server: &McpServer, spoken: &Spoken, defaults: &Defaults) -> Vec<Value> {
    let file = CONFIG_FILE.trim_start_matches(CONFIG_AT).trim_start_matches('/');
    let annotation = format!("metadata.annotations['{CONFIG}']");
    let mut volumes = vec![
        json!({
            "name": CONFIG_VOLUME,
            "downwardAPI": {"items": [{"path": file, "fieldRef": {"fieldPath": annotation}}]},
        }),
        json!({"name": NO_TOKEN, "emptyDir": {}}),
    ];
    let sources: Vec<Value> = secrets(server, defaults)
        .into_iter()
        .map(|(entry, path)| {
            let path = path.rsplit('/').next().unwrap_or_default();
            // A Secret that is not there must not keep the pod from starting.
            json!({"secret": {
                "name": entry.name,
                "items": [{"key": entry.key, "path": path}],
                "optional": true,
            }})
        })
        .collect();
    if !sources.is_empty() {
        volumes.push(json!({"name": SECRETS, "projected": {"sources": sources}}));
    }
    if matches!(spoken, Spoken::Stdio(_)) {
        volumes.push(json!({"name": RUN, "emptyDir": {"sizeLimit": "32Mi"}}));
    }
    volumes
}
