//! Holds one session with the official Rust SDK; `tests/clients/README.md` says how it is
//! told what.
#![expect(deprecated, reason = "what 2026-07-28 gives up is a part of the revisions before it")]
#![expect(clippy::print_stdout, reason = "what the session brought goes to standard output")]

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    time::Duration,
};

use anyhow::Context as _;
use rmcp::{
    ClientHandler, ErrorData, RoleClient, ServiceError, ServiceExt,
    model::{
        CallToolRequestParams, ClientCapabilities, ClientConfig, CreateMessageRequestParams,
        CreateMessageResult, Implementation, JsonObject, LoggingLevel,
        LoggingMessageNotificationParam, ProgressNotificationParam, ProtocolVersion,
        ResourceUpdatedNotificationParam, Role, SamplingMessage, SamplingMessageContentBlock,
        SetLevelRequestParams, SubscribeRequestParams,
    },
    service::{NotificationContext, RequestContext, RunningService},
    transport::{StreamableHttpClientTransport, TokioChildProcess},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{io::AsyncReadExt as _, process::Command, sync::watch, time::timeout};

#[derive(Deserialize)]
struct Plan {
    #[serde(default)]
    command: Vec<String>,
    http: Option<String>,
    calls: Vec<Call>,
    hears: Vec<String>,
    resource: Option<String>,
}

#[derive(Deserialize)]
struct Call {
    name: String,
    arguments: JsonObject,
    cancel_after: Option<u64>,
}

/// Answers what the server asks, and keeps what else it says.
#[derive(Clone, Debug, Default)]
struct Client {
    heard: watch::Sender<BTreeSet<&'static str>>,
}

impl Client {
    fn hear(&self, what: &'static str) {
        self.heard.send_modify(|heard| {
            heard.insert(what);
        });
    }
}

impl ClientHandler for Client {
    fn get_info(&self) -> ClientConfig {
        let capabilities = ClientCapabilities::builder()
            .enable_sampling()
            .enable_elicitation()
            .enable_roots()
            .build();
        ClientConfig::new(capabilities, Implementation::new("rmcp", "3.11.0"))
    }

    async fn create_message(
        &self,
        _: CreateMessageRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        let text = SamplingMessageContentBlock::text("sampled");
        let message = SamplingMessage::new(Role::Assistant, text);
        Ok(CreateMessageResult::new(message, "none".to_owned()))
    }

    async fn on_progress(&self, _: ProgressNotificationParam, _: NotificationContext<RoleClient>) {
        self.hear("progress");
    }

    async fn on_logging_message(
        &self,
        _: LoggingMessageNotificationParam,
        _: NotificationContext<RoleClient>,
    ) {
        self.hear("log");
    }

    async fn on_resource_updated(
        &self,
        _: ResourceUpdatedNotificationParam,
        _: NotificationContext<RoleClient>,
    ) {
        self.hear("updated");
    }
}

type Session = RunningService<RoleClient, Client>;

async fn connect(client: Client, plan: &Plan) -> anyhow::Result<Session> {
    if let Some(url) = &plan.http {
        let transport = StreamableHttpClientTransport::from_uri(url.as_str());
        return Ok(client.serve(transport).await?);
    }
    let (program, args) = plan.command.split_first().context("neither `http` nor `command`")?;
    let mut command = Command::new(program);
    command.args(args);
    Ok(client.serve(TokioChildProcess::new(command)?).await?)
}

/// Asks for what is to be heard; returns what of it is.
async fn listen(session: &Session, plan: &Plan) -> anyhow::Result<Vec<String>> {
    let version = session.peer_info().map(|info| info.protocol_version.clone());
    if version.is_some_and(|version| version >= ProtocolVersion::V_2026_07_28) {
        return Ok(plan.hears.iter().filter(|what| *what == "progress").cloned().collect());
    }
    if plan.hears.iter().any(|what| what == "log") {
        session.set_level(SetLevelRequestParams::new(LoggingLevel::Debug)).await?;
    }
    if let Some(resource) = &plan.resource {
        session.subscribe(SubscribeRequestParams::new(resource)).await?;
    }
    Ok(plan.hears.clone())
}

async fn call(session: &Session, call: Call) -> anyhow::Result<Value> {
    let name = call.name.clone();
    let params = CallToolRequestParams::new(call.name).with_arguments(call.arguments);
    let limit = call.cancel_after.map_or(Duration::MAX, Duration::from_millis);
    // Dropping the future is how this SDK cancels.
    let Ok(ended) = timeout(limit, session.call_tool(params)).await else {
        return Ok(json!({ "cancelled": name }));
    };
    let (kind, content) = match ended {
        Ok(result) if result.is_error == Some(true) => ("tool_error", json!(result.content)),
        Ok(result) => ("ok", json!(result.content)),
        Err(ServiceError::McpError(error)) => {
            return Ok(json!({ "rpc_error": error.code, "text": error.message }));
        }
        Err(error) => return Err(error.into()),
    };
    Ok(json!(BTreeMap::from([(kind, content)])))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let plan = env::args().nth(1).context("the only argument is a plan in JSON")?;
    let plan: Plan = serde_json::from_str(&plan)?;
    let client = Client::default();
    let session = connect(client.clone(), &plan).await?;
    let tools = session.list_all_tools().await?;
    let tools: Vec<_> = tools.iter().map(|tool| &tool.name).collect();
    let hears = listen(&session, &plan).await?;
    let mut calls = Vec::new();
    for each in plan.calls {
        calls.push(call(&session, each).await?);
    }
    let all = |heard: &BTreeSet<&str>| hears.iter().all(|what| heard.contains(&**what));
    client.heard.subscribe().wait_for(all).await?;
    println!("{}", json!({ "tools": tools, "calls": calls, "heard": hears }));
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    session.cancel().await?;
    Ok(())
}
