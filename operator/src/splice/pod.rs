//! Reading of pods as JSON, in which anything may be absent.

use serde_json::Value;

/// The entries of a list; none when it is absent.
pub(super) fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

/// Every container, init containers last.
pub(super) fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    let spec = &pod["spec"];
    list(spec, "containers").iter().chain(list(spec, "initContainers"))
}

/// The number of a declared TCP port.
pub(super) fn number(port: &Value) -> Option<u16> {
    let tcp = port["protocol"].is_null() || port["protocol"] == "TCP";
    u16::try_from(port["containerPort"].as_u64()?).ok().filter(|_| tcp)
}

/// The name of a container.
pub(super) fn name(container: &Value) -> &str {
    container["name"].as_str().unwrap_or_default()
}
