//! Which calls the demonstration makes.

use std::{collections::HashSet, time::Duration};

use rmcp::{
    RoleClient,
    model::{CallToolRequestParams, ClientConfig, JsonObject, Tool},
    service::RunningService,
};
use serde_json::{Value, json};
use tokio::time::timeout;

/// Longest wait for one call; the client then cancels it.
const LONGEST: Duration = Duration::from_secs(3);
/// How often each call is made.
const TIMES: usize = 5;

/// One call of the demonstration.
pub(crate) struct Call {
    tool: String,
    arguments: JsonObject,
}

fn call(tool: &str, arguments: &Value) -> Call {
    Call { tool: tool.to_owned(), arguments: arguments.as_object().cloned().unwrap_or_default() }
}

/// Calls of every kind to the example server.
pub(crate) fn example() -> Vec<Call> {
    let each = (0..4 * TIMES).flat_map(|time| {
        let slow = (time % 4 == 0).then(|| call("slow", &json!({ "milliseconds": 10 * time })));
        let failing = (time % 4 == 1).then(|| call("fail", &json!({})));
        let breaking = (time % 8 == 2).then(|| call("break_down", &json!({})));
        let unknown = (time % 8 == 3).then(|| call("no_such_tool", &json!({})));
        let echo = call("echo", &json!({ "message": "hello" }));
        [Some(echo), slow, failing, breaking, unknown].into_iter().flatten()
    });
    // One that takes longer than the client waits for.
    each.chain([call("slow", &json!({ "milliseconds": 60_000 }))]).collect()
}

/// Calls to the tools of any server, with arguments that suit their schemas: only to tools
/// that say that they change nothing, and to one that does not exist.
pub(crate) fn generic(tools: &[Tool]) -> Vec<Call> {
    let harmless = |tool: &&Tool| {
        let annotations = tool.annotations.as_ref();
        annotations.and_then(|annotations| annotations.read_only_hint) == Some(true)
    };
    let mut calls = Vec::new();
    for tool in tools.iter().filter(harmless) {
        let arguments = example_of(&Value::Object(tool.input_schema.as_ref().clone()));
        calls.extend((0..TIMES).map(|_| call(&tool.name, &arguments)));
        // And once with arguments that few tools take.
        calls.push(call(&tool.name, &json!({ "message": 17 })));
    }
    calls.push(call("no_such_tool", &json!({})));
    calls
}

/// A value that suits a schema, with its required members only.
fn example_of(schema: &Value) -> Value {
    let options = schema["enum"].as_array().and_then(|options| options.first());
    if let Some(given) = schema.get("default").or(schema.get("const")).or(options) {
        return given.clone();
    }
    match schema["type"].as_str() {
        Some("string") => json!("hello"),
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or(json!(1)),
        Some("boolean") => json!(false),
        Some("array") => json!([]),
        _ => {
            let required = schema["required"].as_array().into_iter().flatten();
            let required = required.filter_map(Value::as_str);
            let members =
                required.map(|name| (name.to_owned(), example_of(&schema["properties"][name])));
            Value::Object(members.collect())
        }
    }
}

/// Makes the calls, one after the other. How they end is not the client's to tell: the table
/// does. A tool that once took too long is not called again. Returns how many it made.
pub(crate) async fn make(
    session: &RunningService<RoleClient, ClientConfig>,
    calls: Vec<Call>,
) -> u32 {
    let mut given_up = HashSet::new();
    let mut made = 0;
    for Call { tool, arguments } in calls {
        if given_up.contains(&tool) {
            continue;
        }
        let params = CallToolRequestParams::new(tool.clone()).with_arguments(arguments);
        made += 1;
        if timeout(LONGEST, session.call_tool(params)).await.is_err() {
            given_up.insert(tool);
        }
    }
    made
}
