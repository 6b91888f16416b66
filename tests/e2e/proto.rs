//! The API is the one of the official MCPulse: what its Python SDK encodes we decode, and the
//! reverse, and its descriptor says the same as ours.

use std::{
    collections::BTreeMap,
    io::Write as _,
    process::{Command, Stdio},
};

use bytes::Bytes;
use mcpulse_proto::{
    FILE_DESCRIPTOR_SET,
    v1::{IngestError, IngestRequest, IngestResponse, MetricStatus, ToolCallMetric},
};
use mcpulse_tests::{Tools, tools::source};
use prost::Message;
use prost_types::{
    FileDescriptorProto, FileDescriptorSet, ListValue, Struct, Timestamp, Value, value::Kind,
};
use serde_json::json;

/// A metric with a value in every field, and the same as protobuf writes it in JSON.
fn metric(status: MetricStatus) -> (ToolCallMetric, serde_json::Value) {
    let value = |kind| Value { kind: Some(kind) };
    let inner = Struct { fields: [("x".to_owned(), value(Kind::BoolValue(true)))].into() };
    let list = [Kind::NumberValue(-1.5), Kind::StringValue("ä\u{0}".to_owned())];
    let list = ListValue { values: list.map(value).into() };
    let fields = [
        ("list".to_owned(), value(Kind::ListValue(list))),
        ("null".to_owned(), value(Kind::NullValue(0))),
        ("object".to_owned(), value(Kind::StructValue(inner))),
    ];
    let metric = ToolCallMetric {
        id: "5f0c7d5e-95a2-4d6a-9b6e-0d9e6c1c2f3a".to_owned(),
        timestamp: Some(Timestamp { seconds: 1_800_000_000, nanos: 123_456_789 }),
        server_id: "server".to_owned(),
        session_id: "session".to_owned(),
        tool_name: "tool".to_owned(),
        parameters: Some(Struct { fields: fields.into() }),
        duration_ms: 1 << 40,
        status: status.into(),
        error_message: "it failed".to_owned(),
        error_type: "-32602".to_owned(),
        result_size: i32::MAX,
        protocol_version: "2025-11-25".to_owned(),
        client_name: "client".to_owned(),
        client_version: "1.2.3".to_owned(),
    };
    let json = json!({
        "id": metric.id, "timestamp": "2027-01-15T08:00:00.123456789Z", "server_id": "server",
        "session_id": "session", "tool_name": "tool",
        "parameters": {"list": [-1.5, "ä\u{0}"], "null": null, "object": {"x": true}},
        "duration_ms": (1_i64 << 40).to_string(), "status": status.as_str_name(),
        "error_message": "it failed", "error_type": "-32602", "result_size": i32::MAX,
        "protocol_version": "2025-11-25", "client_name": "client", "client_version": "1.2.3",
    });
    (metric, json)
}

#[test]
fn the_sdk_and_we_read_each_other() {
    let Some(tools) = Tools::with(&["mcp2"]) else { return };
    let statuses = [MetricStatus::Success, MetricStatus::Error, MetricStatus::Timeout];
    // Not said and 0 are the same on the wire, so that this one is no complete metric.
    let all = [statuses.as_slice(), &[MetricStatus::Unspecified]].concat();
    let (metrics, metrics_json): (Vec<_>, Vec<_>) = all.into_iter().map(metric).unzip();
    let (complete, complete_json) = metric(MetricStatus::Error);
    let request = IngestRequest { metrics };
    let error = IngestError { index: 7, reason: "no".to_owned() };
    let error_json = json!({"index": 7, "reason": "no"});
    let response = IngestResponse { accepted: 3, rejected: 1, errors: vec![error.clone()] };
    let input = json!({
        "ToolCallMetric": [complete_json, hex(&complete.encode_to_vec())],
        "IngestRequest": [{"metrics": metrics_json}, hex(&request.encode_to_vec())],
        "IngestError": [error_json, hex(&error.encode_to_vec())],
        "IngestResponse": [
            {"accepted": 3, "rejected": 1, "errors": [error_json]},
            hex(&response.encode_to_vec()),
        ],
    });

    let output = sdk(tools, &input);
    let encoded = |name: &str| unhex(&output["encoded"][name]);
    assert_eq!(ToolCallMetric::decode(&*encoded("ToolCallMetric")), Ok(complete));
    assert_eq!(IngestRequest::decode(&*encoded("IngestRequest")), Ok(request));
    assert_eq!(IngestError::decode(&*encoded("IngestError")), Ok(error));
    assert_eq!(IngestResponse::decode(&*encoded("IngestResponse")), Ok(response));

    let theirs = FileDescriptorProto::decode(&*unhex(&output["descriptor"])).expect("a descriptor");
    let ours = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("descriptors");
    assert_eq!(api(&ours.file), api(&[theirs]));
}

/// Everything that the wire depends on: fields, values and methods by their full names.
fn api(files: &[FileDescriptorProto]) -> BTreeMap<String, String> {
    let mut api = BTreeMap::new();
    for file in files.iter().filter(|file| file.package() == "mcpulse.v1") {
        for message in &file.message_type {
            assert!(message.nested_type.is_empty() && message.oneof_decl.is_empty());
            for field in &message.field {
                let what = (field.number(), field.r#type(), field.label(), field.type_name());
                api.insert(format!("{}.{}", message.name(), field.name()), format!("{what:?}"));
            }
        }
        for r#enum in &file.enum_type {
            for value in &r#enum.value {
                api.insert(
                    value.name().to_owned(),
                    format!("{} {}", r#enum.name(), value.number()),
                );
            }
        }
        for service in &file.service {
            for method in &service.method {
                let streams = (method.client_streaming(), method.server_streaming());
                let what = (method.input_type(), method.output_type(), streams);
                api.insert(format!("{}/{}", service.name(), method.name()), format!("{what:?}"));
            }
        }
    }
    api
}

/// What the classes of the SDK make of this.
fn sdk(tools: &Tools, input: &serde_json::Value) -> serde_json::Value {
    let mut python = Command::new(tools.python("mcp2", "python"))
        .arg(source("fixtures/sdk.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python starts");
    let mut stdin = python.stdin.take().expect("standard input is piped");
    stdin.write_all(input.to_string().as_bytes()).expect("the script reads");
    drop(stdin);
    let output = python.wait_with_output().expect("the script ends");
    assert!(output.status.success(), "see above for what the SDK said");
    serde_json::from_slice(&output.stdout).expect("the script writes JSON")
}

fn hex(bytes: &[u8]) -> String {
    format!("{:x}", Bytes::copy_from_slice(bytes))
}

fn unhex(text: &serde_json::Value) -> Vec<u8> {
    let text = text.as_str().expect("hex");
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex");
    (0..text.len()).step_by(2).map(byte).collect()
}
