//! Every setting there is, in one table: its key in a file, its flag, its variables, its kind.
//! Help, README, the search for unknown keys and `--print-config` all come from here; a test
//! holds the table against [`super::Config`].

use serde_yaml::Value;

use super::{Config, Listen, Mode, Upstream, kind::Kind};

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its place in a file; `$` stands for the mode's name.
    pub key: &'static str,
    /// Its flag without the dashes; empty for what only a file can say.
    pub flag: &'static str,
    /// Another name of the flag.
    pub alias: Option<&'static str>,
    /// What values it takes.
    pub kind: Kind,
    /// Where it means something.
    pub scope: Scope,
    /// Variables besides `MCPULSE_PROXY_<FLAG>`, strongest first.
    pub variables: &'static [&'static str],
    /// What it does, in a line.
    pub help: &'static str,
}

/// Where a setting means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Always.
    Any,
    /// With a program as the server.
    Stdio,
    /// The same with `--listen`.
    StdioListener,
    /// With a server behind a URL.
    Remote,
    /// With `--listen`.
    Listener,
    /// With a server behind a URL, or with `--listen`.
    RemoteOrListener,
}

impl Scope {
    /// Whether it covers a proxy of this mode, with or without a listener.
    pub fn covers(self, mode: Mode, listens: bool) -> bool {
        match self {
            Self::Any => true,
            Self::Stdio => mode == Mode::Stdio,
            Self::StdioListener => mode == Mode::Stdio && listens,
            Self::Remote => mode != Mode::Stdio,
            Self::Listener => listens,
            Self::RemoteOrListener => mode != Mode::Stdio || listens,
        }
    }

    /// Why it covers no proxy of this mode, to follow the setting's name.
    pub fn objection(self, mode: Mode) -> String {
        let mode = mode.name();
        match self {
            Self::Any => format!("does not apply to {mode}"),
            Self::Stdio => format!("does not apply to {mode}; it is for stdio"),
            Self::StdioListener => {
                format!("does not apply to {mode}; it is for stdio with --listen")
            }
            Self::Remote => format!("does not apply to {mode}; it is for http and sse"),
            Self::Listener => format!("does not apply to {mode} without --listen"),
            Self::RemoteOrListener => {
                format!("does not apply to {mode} without --listen; it is for http and sse")
            }
        }
    }
}

impl Setting {
    const fn new(flag: &'static str, key: &'static str, kind: Kind, help: &'static str) -> Self {
        Self { key, flag, alias: None, kind, scope: Scope::Any, variables: &[], help }
    }

    const fn alias(mut self, alias: &'static str) -> Self {
        self.alias = Some(alias);
        self
    }

    const fn within(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    const fn or(mut self, variables: &'static [&'static str]) -> Self {
        self.variables = variables;
        self
    }

    /// Its place in the configuration of a proxy of this mode.
    pub fn path(&self, mode: Mode) -> String {
        self.key.replace('$', mode.name())
    }

    /// The variable that always goes with the flag.
    pub fn variable(&self) -> String {
        format!("MCPULSE_PROXY_{}", self.flag.replace('-', "_").to_uppercase())
    }

    /// Those that have a flag.
    pub fn flagged() -> impl Iterator<Item = &'static Self> {
        ALL.iter().filter(|setting| !setting.flag.is_empty())
    }

    /// Its value among the [`defaults`], if it has one.
    pub fn default(&self, defaults: &Value) -> Option<String> {
        let path = self.path(Mode::Http);
        let value = path.split('.').try_fold(defaults, |tree, key| tree.get(key))?;
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Bool(switch) => switch.to_string(),
            _ => return None,
        };
        Some(text).filter(|text| !text.is_empty())
    }

    /// Whether it is of one server; all others hold for the whole process.
    pub fn is_of_server(&self) -> bool {
        matches!(self.key.split('.').next(), Some("serverId" | "upstream"))
    }

    /// The heading under which help lists it.
    pub fn heading(&self) -> &'static str {
        match self.key.split('.').next() {
            _ if self.is_of_server() => "Server",
            Some("listen") => "Clients",
            Some("mcpulse") => "MCPulse",
            Some("metricsListen" | "callLog" | "otel") => "Metrics, call log and traces",
            Some("limits") => "Limits of observing",
            _ => "Process",
        }
    }

    /// The setting with this flag, without the dashes.
    pub fn with_flag(flag: &str) -> Option<&'static Self> {
        ALL.iter().find(|setting| setting.flag == flag)
    }

    /// The first setting that lives at this place in a file for this mode.
    pub fn at(path: &str, mode: Mode) -> Option<&'static Self> {
        ALL.iter().find(|setting| setting.path(mode) == path)
    }
}

/// What holds when nobody says anything, as a file would have it.
pub fn defaults() -> Value {
    let mut config = Config::new("", Upstream::Http(super::Remote::new("")));
    config.listen = Some(Listen::new(""));
    let mut tree = serde_yaml::to_value(config).unwrap_or_default();
    if let Some(Value::Mapping(upstream)) = tree.get_mut("upstream") {
        let program = serde_yaml::to_value(super::Command::default()).unwrap_or_default();
        upstream.insert("stdio".into(), program);
    }
    tree
}

use Kind::{
    Address, Args, Collector, Count, Directory, Duration, Endpoint, Header, HeaderPairs, Headers,
    Hosts, Level, NewDirectory, OneOf, Origin, Origins, Pairs, Path, Proxy, Secret, SecretFile,
    Share, Size, Switch, Text, Url, Variables, Wait, Words,
};
use Scope::{Listener, Remote, RemoteOrListener, Stdio, StdioListener};

const MOST: u64 = 1 << 32;
const CERTIFICATE: Kind = Kind::Pem("CERTIFICATE");
const PRIVATE_KEY: Kind = Kind::Pem("PRIVATE KEY");

/// Every setting, in the order of help and README.
#[rustfmt::skip]
pub static ALL: &[Setting] = &[
    Setting::new("server-id", "serverId", Text("NAME"), "Name under which MCPulse knows the server"),

    Setting::new("command", "upstream.stdio.program", Words, "Command that starts the server; no shell takes part").within(Stdio),
    Setting::new("", "upstream.stdio.args", Args, "Its arguments").within(Stdio),
    Setting::new("", "upstream.stdio.env", Variables, "Variables that it gets besides the inherited ones").within(Stdio),
    Setting::new("cwd", "upstream.stdio.cwd", Directory, "Its working directory").within(Stdio),
    Setting::new("shim-socket", "upstream.stdio.socket", Path, "Socket of mcpulse-shim, which starts the server in another container, in place of a command").within(StdioListener),
    Setting::new("remote-url", "upstream.$.url", Url, "URL of the remote server").within(Remote),
    Setting::new("bearer-token", "upstream.$.bearerToken", Secret, "Token sent upstream and demanded from clients of --listen").alias("auth-token").within(RemoteOrListener).or(&["MCPULSE_PROXY_AUTH_TOKEN"]),
    Setting::new("bearer-token-file", "upstream.$.bearerToken", SecretFile, "File that holds it, read again when it changes").within(RemoteOrListener),
    Setting::new("headers", "upstream.$.headers", Headers, "Headers added to every request upstream, besides those of the file").within(Remote),
    Setting::new("header", "upstream.$.headers", Header, "One such header; repeatable, and commas in values survive").within(Remote),
    Setting::new("max-sessions", "upstream.$.sessions.limit", Count(1, 1_000_000), "Sessions at once with --listen: with programs, or across HTTP transports; 503 beyond"),
    Setting::new("session-rate", "upstream.$.sessions.rate", Count(1, 1_000_000), "Programs that may start a second with --listen, after --max-sessions at once; 503 beyond"),
    Setting::new("max-programs", "upstream.$.sessions.programs", Count(1, 1_000_000), "Programs at once with --listen; all that sessions, shared and warm ones come to unless given"),
    Setting::new("warm-programs", "upstream.$.sessions.warm", Count(0, 1_000), "Programs started before a session wants one with --listen"),
    Setting::new("shared-programs", "upstream.$.sessions.shared", Count(1, 1_000), "Programs at most that clients without sessions (2026-07-28) share with --listen"),
    Setting::new("session-timeout", "upstream.$.sessions.idleTimeout", Wait, "How long a session with --listen may be unused"),
    Setting::new("ca-file", "upstream.$.caFile", CERTIFICATE, "PEM file of authorities to trust upstream besides the built-in ones").within(Remote).or(&["SSL_CERT_FILE"]),
    Setting::new("proxy", "upstream.$.proxy", Proxy, "Forward proxy to the server, http:// or socks5://; else what HTTPS_PROXY and the like say").within(Remote),
    Setting::new("host-header", "upstream.$.hostHeader", OneOf(&["upstream", "preserve"]), "Host that the upstream sees: its own, or the client's").within(Remote),
    Setting::new("accept-encoding", "upstream.$.acceptEncoding", OneOf(&["identity", "preserve"]), "Accept-Encoding that it sees: identity, so that answers can be read, or the client's").within(Remote),
    Setting::new("connect-timeout", "upstream.$.connectTimeout", Wait, "Longest wait for a connection upstream").within(Remote),
    Setting::new("response-timeout", "upstream.$.responseTimeout", Wait, "Longest wait for the head of an answer to a POST; for ever unless given").within(Remote),
    Setting::new("idle-timeout", "upstream.$.idleTimeout", Duration, "How long an unused connection upstream is kept").within(Remote),
    Setting::new("upstream-error-status", "upstream.$.errorStatus", OneOf(&["gateway", "200"]), "Status of answers for an upstream that is down: 502 to 504, or 200").within(Remote),

    Setting::new("listen", "listen.address", Address, "Address for clients; standard input and output unless given"),
    Setting::new("allowed-host", "listen.allowedHosts", Hosts, "Host that passes besides loopback names; repeatable").within(Listener),
    Setting::new("allowed-origin", "listen.allowedOrigins", Origins, "Origin that passes besides the listener's own; repeatable").within(Listener),
    Setting::new("tls-cert", "listen.tls.cert", CERTIFICATE, "PEM file with the listener's certificate chain").within(Listener),
    Setting::new("tls-key", "listen.tls.key", PRIVATE_KEY, "PEM file with its private key").within(Listener),
    Setting::new("public-url", "listen.publicUrl", Origin, "URL that clients use; rewrites OAuth metadata").within(Listener),
    Setting::new("max-body", "listen.maxBody", Size(1), "Largest request body; 413 beyond").within(Listener),
    Setting::new("max-header", "listen.maxHeader", Size(8 << 10), "Largest request head; 431 beyond").within(Listener),
    Setting::new("read-timeout", "listen.readTimeout", Wait, "Longest wait for a request head, between reads of a body, and until a client takes of an answer").within(Listener),
    Setting::new("drain-timeout", "listen.drainTimeout", Duration, "Longest wait at the end for calls in flight").within(Listener),

    Setting::new("mcpulse-url", "mcpulse.url", Endpoint, "MCPulse; TLS for https and port 443; none turns it off").or(&["MCPULSE_URL", "MCPULSE_SERVER"]),
    Setting::new("mcpulse-api-key", "mcpulse.apiKey", Secret, "Key that MCPulse knows the sender by").or(&["MCPULSE_API_KEY"]),
    Setting::new("mcpulse-api-key-file", "mcpulse.apiKey", SecretFile, "File that holds it, read again when it changes"),
    Setting::new("mcpulse-tls", "mcpulse.tls", Switch, "TLS to MCPulse, whatever the URL says"),
    Setting::new("mcpulse-ca-file", "mcpulse.caFile", CERTIFICATE, "PEM file of authorities to trust there besides the built-in ones").or(&["SSL_CERT_FILE"]),
    Setting::new("mcpulse-timeout", "mcpulse.timeout", Wait, "Longest wait for the answer to a batch"),
    Setting::new("capture", "mcpulse.capture", OneOf(&["none", "redacted", "full"]), "What of arguments and error texts is reported"),
    Setting::new("batch-size", "mcpulse.batchSize", Count(1, 1_000_000), "Calls that are sent together without waiting longer"),
    Setting::new("batch-max", "mcpulse.batchMax", Count(1, 1_000_000), "Most calls in one request, when there is a backlog"),
    Setting::new("flush-interval", "mcpulse.flushInterval", Wait, "Longest wait for a batch to fill up"),
    Setting::new("mcpulse-queue-calls", "mcpulse.queueCalls", Count(1, MOST), "Calls queued in memory while MCPulse is away, besides up to 3 batches"),
    Setting::new("mcpulse-queue-bytes", "mcpulse.queueBytes", Size(64 << 10), "Bytes queued in memory while MCPulse is away, besides up to 3 batches"),
    Setting::new("spool-dir", "mcpulse.spoolDir", NewDirectory, "Directory in which calls wait for MCPulse across restarts"),
    Setting::new("spool-limit", "mcpulse.spoolLimit", Size(64 << 10), "Most bytes of its calls there, for each process"),

    Setting::new("metrics-listen", "metricsListen", Address, "Address of /metrics, /healthz and /readyz; off unless given"),
    Setting::new("call-log", "callLog", Path, "File for one JSON object a call; - for standard error"),
    Setting::new("otel-endpoint", "otel.endpoint", Collector, "OpenTelemetry collector (OTLP/gRPC); off unless given").or(&["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"]),
    Setting::new("otel-ca-file", "otel.caFile", CERTIFICATE, "PEM file of authorities to trust there besides the built-in ones").or(&["OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE", "SSL_CERT_FILE"]),
    Setting::new("otel-headers", "otel.headers", HeaderPairs, "Metadata of every export").or(&["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"]),
    Setting::new("otel-timeout", "otel.timeout", Wait, "Longest wait for one export").or(&["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"]),
    Setting::new("otel-service-name", "otel.serviceName", Text("NAME"), "service.name; the server id unless given").or(&["OTEL_SERVICE_NAME"]),
    Setting::new("otel-resource-attributes", "otel.resourceAttributes", Pairs, "Further resource attributes").or(&["OTEL_RESOURCE_ATTRIBUTES"]),
    Setting::new("trace-sample", "otel.sample", Share, "Share of calls that become spans where no parent decides").or(&["OTEL_TRACES_SAMPLER_ARG", "OTEL_TRACES_SAMPLER"]),
    Setting::new("trace-follow-parent", "otel.followParent", Switch, "Whether the sampled flag of a call's parent decides for it").or(&["OTEL_TRACES_SAMPLER"]),
    Setting::new("trace-keep-failed", "otel.keepFailed", Switch, "Whether calls that failed become spans whatever else says").or(&["OTEL_TRACES_SAMPLER"]),
    Setting::new("otel-own-spans", "otel.ownSpans", Switch, "Export the proxy's own spans as well"),
    Setting::new("otel-queue-calls", "otel.queueCalls", Count(1, MOST), "Spans kept in memory while the collector is away"),

    Setting::new("tap-bytes", "limits.tapBytes", Size(64 << 10), "Bytes that wait to be observed; beyond it they are forwarded unobserved"),
    Setting::new("inspect-limit", "limits.inspect", Size(1 << 10), "Bytes up to which a message is read whole; beyond it only its top-level members"),
    Setting::new("arguments-limit", "limits.arguments", Size(0), "Bytes of a call's arguments kept for reporting; larger ones are left out"),
    Setting::new("pending-limit", "limits.pending", Count(1, MOST), "Requests that wait for an answer, over all sessions"),
    Setting::new("pending-timeout", "limits.pendingFor", Wait, "How long a request waits before it counts as timed out"),
    Setting::new("session-limit", "limits.sessions", Count(1, MOST), "Sessions remembered for their client and protocol version"),
    Setting::new("tool-series-limit", "limits.tools", Count(1, 100_000), "Tools with series of their own; the others share __other__"),

    Setting::new("log-level", "log.level", Level, "error, warn, info, debug or trace, or directives as RUST_LOG takes them").or(&["RUST_LOG"]),
    Setting::new("log-format", "log.format", OneOf(&["text", "json"]), "How a line of the log looks"),
    Setting::new("install-shim", "installShim", Path, "Where to put mcpulse-shim, which lies beside this program, before anything else"),
    Setting::new("workers", "workers", Count(1, 1024), "Worker threads"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::{Command, Header, Remote, ServerTls, Sessions};

    /// A configuration in which everything is there.
    fn whole(upstream: Upstream) -> Config {
        let header = Header::new("x", "y").unwrap();
        let mut config = Config::new("x", upstream);
        let mut listen = Listen::new(":0");
        listen.allowed_hosts = vec!["a".to_owned()];
        listen.allowed_origins = vec!["a".to_owned()];
        listen.tls = Some(ServerTls { cert: "c".into(), key: "k".into() });
        listen.public_url = Some("https://a".to_owned());
        config.listen = Some(listen);
        config.metrics_listen = Some(":0".to_owned());
        config.call_log = Some("-".to_owned());
        config.mcpulse.api_key = Some("k".into());
        config.mcpulse.tls = Some(true);
        config.mcpulse.ca_file = Some("c".into());
        config.mcpulse.spool_dir = Some("s".into());
        config.install_shim = Some("s".into());
        config.otel.endpoint = Some("http://a".to_owned());
        config.otel.ca_file = Some("c".into());
        config.otel.headers = vec![header];
        config.otel.service_name = Some("s".to_owned());
        config.otel.resource_attributes = [("a".to_owned(), "b".to_owned())].into();
        config
    }

    fn remote() -> Remote {
        let mut remote = Remote::new("https://a");
        remote.bearer_token = Some("t".into());
        remote.headers = vec![Header::new("x", "y").unwrap()];
        remote.ca_file = Some("c".into());
        remote.response_timeout = Some(std::time::Duration::from_secs(1));
        remote.sessions.programs = Some(1);
        remote
    }

    fn leaves(value: &Value, path: &str, mode: Mode, found: &mut BTreeSet<String>) {
        match value {
            Value::Mapping(map) if Setting::at(path, mode).is_none() => {
                for (key, value) in map {
                    let key = key.as_str().unwrap();
                    let path =
                        if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
                    leaves(value, &path, mode, found);
                }
            }
            _ => {
                found.insert(path.to_owned());
            }
        }
    }

    #[test]
    fn the_table_is_the_configuration() {
        let program = Command {
            program: "p".to_owned(),
            args: vec!["a".to_owned()],
            env: [("a".to_owned(), "b".into())].into(),
            cwd: Some("/".into()),
            socket: Some("/s".into()),
            bearer_token: Some("t".into()),
            sessions: Sessions { programs: Some(1), ..Sessions::default() },
        };
        for (mode, upstream) in [
            (Mode::Stdio, Upstream::Stdio(program)),
            (Mode::Http, Upstream::Http(remote())),
            (Mode::Sse, Upstream::Sse(remote())),
        ] {
            let mut held = BTreeSet::new();
            leaves(&serde_yaml::to_value(whole(upstream)).unwrap(), "", mode, &mut held);
            let told = ALL.iter().filter(|setting| setting.scope.covers(mode, true));
            let told: BTreeSet<String> = told.map(|setting| setting.path(mode)).collect();
            assert_eq!(told, held, "{}", mode.name());
        }
    }

    #[test]
    fn every_flag_is_there_once_and_says_what_it_does() {
        let mut flags = BTreeSet::new();
        for setting in Setting::flagged() {
            assert!(flags.insert(setting.flag), "--{} is there twice", setting.flag);
            assert!(!setting.help.ends_with('.') && setting.help.len() < 100, "{}", setting.help);
        }
    }

    #[test]
    fn every_word_of_a_choice_is_one_that_the_configuration_reads() {
        for setting in ALL {
            let Kind::OneOf(words) = setting.kind else { continue };
            for word in words {
                let mut tree = serde_yaml::to_value(whole(Upstream::Http(remote()))).unwrap();
                let place = setting.path(Mode::Http);
                let place = place.split('.').fold(&mut tree, |tree, key| &mut tree[key]);
                *place = setting.kind.parse(word).unwrap();
                assert!(serde_yaml::from_value::<Config>(tree).is_ok(), "{} {word}", setting.key);
            }
        }
    }
}
