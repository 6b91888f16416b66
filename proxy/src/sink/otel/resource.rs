//! Who exports: the resource of every span.

use opentelemetry::KeyValue;
use opentelemetry_sdk::{Resource, resource::TelemetryResourceDetector};

use crate::config;

/// Resource attributes by configuration alone, with the server id as the service's name
/// unless one is given.
pub(super) fn of(config: &config::Otel, server_id: &str) -> Resource {
    let given = &config.resource_attributes;
    let name = config.service_name.as_deref().or(given.get("service.name").map(String::as_str));
    Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_attributes(given.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone())))
        .with_attribute(KeyValue::new("service.name", name.unwrap_or(server_id).to_owned()))
        .build()
}

#[cfg(test)]
mod tests {
    use opentelemetry::Key;

    use super::*;

    #[test]
    fn the_name_is_the_variable_then_the_attribute_then_the_server_id() {
        let name = |config: &config::Otel| {
            of(config, "files").get(&Key::new("service.name")).unwrap().to_string()
        };
        let mut config = config::Otel::default();
        assert_eq!(name(&config), "files");
        config.resource_attributes.insert("service.name".into(), "attribute".into());
        config.resource_attributes.insert("deployment.environment.name".into(), "test".into());
        assert_eq!(name(&config), "attribute");
        config.service_name = Some("variable".into());
        assert_eq!(name(&config), "variable");
        let resource = of(&config, "files");
        let value = |key: &'static str| resource.get(&Key::new(key)).map(|value| value.to_string());
        assert_eq!(value("deployment.environment.name").as_deref(), Some("test"));
        assert_eq!(value("telemetry.sdk.name").as_deref(), Some("opentelemetry"));
        assert_eq!(value("telemetry.sdk.language").as_deref(), Some("rust"));
    }
}
