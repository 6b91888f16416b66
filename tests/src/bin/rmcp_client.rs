//! Holds one session with the official Rust SDK; `tests/clients/README.md` says how it is
//! told what.
#![expect(clippy::print_stdout, reason = "what the session brought goes to standard output")]

use std::{collections::BTreeMap, env, time::Duration};

use anyhow::Context as _;
use rmcp::{
    RoleClient, ServiceError, ServiceExt,
    model::{CallToolRequestParams, ClientCapabilities, ClientConfig, Implementation, JsonObject},
    service::RunningService,
    transport::{StreamableHttpClientTransport, TokioChildProcess},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{io::AsyncReadExt as _, process::Command, time::timeout};

#[derive(Deserialize)]
struct Plan {
    #[serde(default)]
    command: Vec<String>,
    http: Option<String>,
    calls: Vec<Call>,
}

#[derive(Deserialize)]
struct Call {
    name: String,
    arguments: JsonObject,
    cancel_after: Option<u64>,
}

type Session = RunningService<RoleClient, ClientConfig>;

async fn connect(plan: &Plan) -> anyhow::Result<Session> {
    let info = Implementation::new("rmcp", "3.11.0");
    let client = ClientConfig::new(ClientCapabilities::default(), info);
    if let Some(url) = &plan.http {
        let transport = StreamableHttpClientTransport::from_uri(url.as_str());
        return Ok(client.serve(transport).await?);
    }
    let (program, args) = plan.command.split_first().context("neither `http` nor `command`")?;
    let mut command = Command::new(program);
    command.args(args);
    Ok(client.serve(TokioChildProcess::new(command)?).await?)
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
    let session = connect(&plan).await?;
    let tools = session.list_all_tools().await?;
    let tools: Vec<_> = tools.iter().map(|tool| &tool.name).collect();
    let mut calls = Vec::new();
    for each in plan.calls {
        calls.push(call(&session, each).await?);
    }
    println!("{}", json!({ "tools": tools, "calls": calls }));
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    session.cancel().await?;
    Ok(())
}
