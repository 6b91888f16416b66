//! An installation of the operator: where it is, what its objects are called, and which
//! namespaces are its own. Of several in one cluster, no two may have the same.

/// An installation of the operator.
#[derive(clap::Args, Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// Where the operator itself runs
    #[arg(long, value_name = "NAME", env = "POD_NAMESPACE", default_value = "mcpulse-system",
          value_parser = label)]
    pub namespace: String,
    /// With what the names of its own objects begin
    #[arg(long = "release", value_name = "NAME", default_value = "mcpulse", value_parser = label)]
    pub name: String,
    /// Leave all namespaces but this one alone; roles in it are enough then
    #[arg(long = "watch-namespace", value_name = "NAME", value_parser = label)]
    pub watched: Option<String>,
}

impl Default for Release {
    fn default() -> Self {
        Self { namespace: "mcpulse-system".to_owned(), name: "mcpulse".to_owned(), watched: None }
    }
}

impl Release {
    /// The name of its Deployment, Service, service account and Lease.
    pub fn operator(&self) -> String {
        format!("{}-operator", self.name)
    }

    /// The name of the Secret with the authorities of its webhook.
    pub fn authorities(&self) -> String {
        format!("{}-webhook-ca", self.name)
    }

    /// The name of its `MutatingWebhookConfiguration`.
    pub fn configuration(&self) -> &str {
        &self.name
    }

    /// The name of its policy for injections of this format, and of the policy's binding.
    pub fn policy(&self, format: u32) -> String {
        format!("injection-{format}.{}.io", self.name)
    }

    /// A text of objects in which `${…}` stands for what differs from release to release; the
    /// chart fills its copies in the same way.
    pub(crate) fn fill(&self, text: &str) -> String {
        let within = |text: &str| {
            let watched = self.watched.as_deref();
            watched.map(|watched| text.replace("${watched}", watched)).unwrap_or_default()
        };
        let values = [
            ("namespace", self.namespace.clone()),
            ("name", self.name.clone()),
            ("kind", if self.watched.is_some() { "Role" } else { "ClusterRole" }.to_owned()),
            ("in", within("\n  namespace: '${watched}'")),
            ("named", within("\n  resourceNames: ['${watched}']")),
            ("only", within("kubernetes.io/metadata.name: '${watched}'")),
        ];
        values.iter().fold(text.to_owned(), |text, (name, value)| {
            text.replace(&format!("${{{name}}}"), value)
        })
    }
}

/// A name of at most 63 letters, digits and dashes (RFC 1123 label).
fn label(text: &str) -> Result<String, &'static str> {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let named = (1..=63).contains(&text.len()) && text.bytes().all(inner);
    if named && !text.starts_with('-') && !text.ends_with('-') {
        Ok(text.to_owned())
    } else {
        Err("write a name: at most 63 lower case letters, digits and dashes")
    }
}
