use std::{
    collections::BTreeSet,
    sync::{Arc, LazyLock},
    time::SystemTime,
};

use proptest::prelude::*;
use prost_types::value::Kind;
use uuid::Uuid;

use super::*;
use crate::{
    record::{Client, ERROR_TEXT_LIMIT, Transport},
    sink::redact::REDACTED,
    traffic::Direction,
};

/// A tool call with a value in every field.
pub(in crate::sink::mcpulse) fn call() -> Call {
    Call {
        id: Uuid::from_u128(0x1234),
        server_id: "server".into(),
        method: "tools/call".into(),
        direction: Direction::ToServer,
        tool: Some("add".into()),
        request_id: "1".into(),
        started: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000),
        duration: Duration::from_micros(1_999),
        outcome: Outcome::Ok,
        error_message: None,
        session: Some("session".into()),
        client: Some(Arc::new(Client { name: "client".into(), version: "1.2".into() })),
        protocol_version: Some("2025-11-25".into()),
        request_size: 10,
        response_size: 20,
        arguments: Some(Bytes::from_static(br#"{"a":1}"#)),
        trace: None,
        transport: Transport::Pipe,
    }
}

fn convert(capture: Capture, call: &Call) -> ToolCallMetric {
    static REDACTED: LazyLock<Convert> = LazyLock::new(|| Convert::new(Capture::Redacted));
    let encoded = match capture {
        Capture::Redacted => REDACTED.encode(call),
        other => Convert::new(other).encode(call),
    };
    ToolCallMetric::decode(encoded).unwrap()
}

fn with_arguments(json: &str) -> Call {
    Call { arguments: Some(Bytes::copy_from_slice(json.as_bytes())), ..call() }
}

/// A value of the arguments as the JSON that it stands for.
fn parameter(capture: Capture, json: &str) -> serde_json::Value {
    fn json_of(value: &prost_types::Value) -> serde_json::Value {
        match value.kind.as_ref().unwrap() {
            Kind::NullValue(_) => serde_json::Value::Null,
            Kind::NumberValue(number) => (*number).into(),
            Kind::StringValue(string) => string.clone().into(),
            Kind::BoolValue(bool) => (*bool).into(),
            Kind::StructValue(object) => serde_json::Value::Object(
                object.fields.iter().map(|(name, value)| (name.clone(), json_of(value))).collect(),
            ),
            Kind::ListValue(list) => list.values.iter().map(json_of).collect(),
        }
    }
    let metric = convert(capture, &with_arguments(json));
    json_of(&prost_types::Value { kind: Some(Kind::StructValue(metric.parameters.unwrap())) })
}

#[test]
fn every_field_has_its_place() {
    let metric = convert(Capture::Redacted, &call());
    assert_eq!(metric.id, "00000000-0000-0000-0000-000000001234");
    let timestamp = metric.timestamp.unwrap();
    assert_eq!((timestamp.seconds, timestamp.nanos), (1_000, 1_999_000));
    assert_eq!(metric.server_id, "server");
    assert_eq!(metric.session_id, "session");
    assert_eq!(metric.tool_name, "add");
    assert_eq!(metric.duration_ms, 1);
    assert_eq!(metric.status, MetricStatus::Success as i32);
    assert_eq!((metric.error_message.as_str(), metric.error_type.as_str()), ("", ""));
    assert_eq!(metric.result_size, 20);
    assert_eq!(metric.protocol_version, "2025-11-25");
    assert_eq!((metric.client_name.as_str(), metric.client_version.as_str()), ("client", "1.2"));
    assert_eq!(metric.parameters.unwrap().fields.len(), 1);
}

#[test]
fn every_outcome_has_a_status_that_mcpulse_takes_and_a_type() {
    let table = [
        (Outcome::Ok, MetricStatus::Success, ""),
        (Outcome::InputRequired, MetricStatus::Success, ""),
        (Outcome::Task, MetricStatus::Success, ""),
        (Outcome::Other, MetricStatus::Success, ""),
        (Outcome::ToolError, MetricStatus::Error, "tool_error"),
        (Outcome::RpcError(-32602), MetricStatus::Error, "-32602"),
        (Outcome::Cancelled, MetricStatus::Error, "cancelled"),
        (Outcome::HttpError(503), MetricStatus::Error, "http_503"),
        (Outcome::Transport, MetricStatus::Error, "transport"),
        (Outcome::Timeout, MetricStatus::Timeout, "timeout"),
        (Outcome::Unobserved, MetricStatus::Success, "unobserved"),
    ];
    let mut missing = BTreeSet::from(Outcome::LABELS);
    for (outcome, status, error_type) in table {
        missing.remove(outcome.label());
        let metric = convert(Capture::Redacted, &Call { outcome, ..call() });
        assert_eq!((metric.status(), metric.error_type.as_str()), (status, error_type));
        assert_ne!(metric.status(), MetricStatus::Unspecified, "{outcome:?}");
    }
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn what_does_not_fit_is_clamped() {
    let far = Call { duration: Duration::MAX / 8, response_size: u64::MAX, ..call() };
    assert_eq!(whole_milliseconds(far.duration), i64::MAX);
    let large = Call { response_size: u64::MAX, tool: Some("é".repeat(900).into()), ..call() };
    let metric = convert(Capture::Redacted, &large);
    assert_eq!(metric.result_size, i32::MAX);
    assert_eq!(metric.tool_name.len(), NAME);
}

#[test]
fn capture_decides_what_leaves() {
    let mut call = with_arguments(r#"{"password":"hunter2","n":1}"#);
    call.error_message = Some("Bearer abcdefgh refused".into());
    let none = convert(Capture::None, &call);
    assert_eq!((none.parameters, none.error_message.as_str()), (None, ""));
    let redacted = convert(Capture::Redacted, &call);
    assert!(format!("{:?}", redacted.parameters).contains(REDACTED));
    assert_eq!(redacted.error_message, "Bearer [REDACTED] refused");
    let full = convert(Capture::Full, &call);
    assert!(format!("{:?}", full.parameters).contains("hunter2"));
    assert_eq!(full.error_message, "Bearer abcdefgh refused");
}

#[test]
fn error_texts_are_capped_and_no_secret_hides_in_the_cut() {
    let secret = "ghp_abcdefghijklmnopqrstuvwxyz0123456789";
    let mut text = format!("{} {secret}", "-----BEGIN PRIVATE KEY-----x".repeat(145));
    text.truncate(ERROR_TEXT_LIMIT);
    let call = Call { error_message: Some(text.into()), ..call() };
    let message = convert(Capture::Redacted, &call).error_message;
    assert_eq!(message, REDACTED);
    let long = Call { error_message: Some("ä".repeat(2000).into()), ..call };
    assert_eq!(convert(Capture::Full, &long).error_message.len(), ERROR_TEXT);
}

#[test]
fn numbers_keep_every_digit() {
    let json = r#"{"a":9007199254740992,"b":9007199254740993,"c":-9007199254740993,
        "d":123456789012345678901234567890,"e":1.5,"f":1e999,"g":-0,"h":1e3}"#;
    let parameters = parameter(Capture::Redacted, json);
    assert_eq!(parameters["a"], 9_007_199_254_740_992_f64);
    assert_eq!(parameters["b"], "9007199254740993");
    assert_eq!(parameters["c"], "-9007199254740993");
    assert_eq!(parameters["d"], "123456789012345678901234567890");
    assert_eq!(parameters["e"], 1.5);
    assert_eq!(parameters["f"], "1e999");
    assert_eq!(parameters["g"], 0.0);
    assert_eq!(parameters["h"], 1000.0);
}

#[test]
fn the_deepest_arguments_can_be_decoded_again() {
    for (open, close) in [(r#"{"a":"#, "}"), ("[", "]")] {
        let json = format!(r#"{{"a":{}1{}}}"#, open.repeat(500), close.repeat(500));
        let encoded = Convert::new(Capture::Redacted).encode(&with_arguments(&json));
        let request = [&[0x0a][..], &varint(encoded.len()), &encoded].concat();
        let request = mcpulse_proto::v1::IngestRequest::decode(&*request).unwrap();
        assert!(format!("{request:?}").contains("[TOO DEEP]"));
    }
}

fn varint(length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_varint(length as u64, &mut bytes);
    bytes
}

#[test]
fn odd_arguments_are_reported_as_far_as_possible() {
    for json in ["[1,2]", "\"text\"", "null", "{", "", "{\"a\":}"] {
        let metric = convert(Capture::Redacted, &with_arguments(json));
        assert!(metric.parameters.is_none_or(|parameters| parameters.fields.is_empty()), "{json}");
    }
    let parameters =
        parameter(Capture::Redacted, r#"{"a":"\ud800 \u0000","b":[],"c":{},"d":null}"#);
    assert!(parameters["a"].is_string());
    assert_eq!(parameters["b"], serde_json::json!([]));
}

#[test]
fn secrets_are_found_by_their_name_at_every_depth() {
    for json in [
        r#"{"x":[[{"password":"hunter2"}]]}"#,
        r#"{"x":{"Api-Key":{"nested":"hunter2"}}}"#,
        r#"{"headers":[{"name":"Authorization","value":"hunter2"}]}"#,
        r#"{"headers":[{"key":"X-Api-Key","Value":"hunter2"}]}"#,
        r#"{"headers":[["Cookie","hunter2"]]}"#,
        r#"{"tokens":["hunter2"]}"#,
        r#"{"args":["run","--password","hunter2","x"]}"#,
        r#"{"env":[{"variable":"DB_PASS","val":"hunter2"}]}"#,
        r#"{"args":["curl","-u","user:hunter2"]}"#,
        r#"{"args":["mysql","-phunter2"]}"#,
        r#"{"json":"{\"key\":\"X-Api-Key\",\"value\":\"hunter2\"}"}"#,
        r#"{"json":"{\"password\":\"hunter2\"}"}"#,
        r#"{"url":"https://h/?access_token=hunter2"}"#,
    ] {
        let parameters = parameter(Capture::Redacted, json).to_string();
        assert!(!parameters.contains("hunter2") && parameters.contains(REDACTED), "{parameters}");
        assert!(parameter(Capture::Full, json).to_string().contains("hunter2"));
    }
}

#[test]
fn a_place_in_a_list_is_no_secret() {
    let json = r#"{"nextPageToken":"abc","page_token":"def","args":["python","-u","a.py:12"]}"#;
    let parameters = parameter(Capture::Redacted, json);
    assert_eq!(parameters, serde_json::from_str::<serde_json::Value>(json).unwrap());
}

#[test]
fn a_count_of_tokens_is_no_secret() {
    let parameters = parameter(Capture::Redacted, r#"{"tokens":512,"max_tokens":512}"#);
    assert_eq!(parameters, serde_json::json!({"tokens":512.0,"max_tokens":512.0}));
}

/// JSON of any shape around a secret that is known by its shape.
fn around(secret: &'static str) -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<i64>().prop_map(Into::into),
        ".{0,12}".prop_map(Into::into),
    ];
    let planted = prop_oneof![
        Just(serde_json::json!(secret)),
        Just(serde_json::json!(format!("it is {secret}!"))),
        Just(serde_json::json!({ secret: 1 })),
    ];
    planted.prop_recursive(20, 40, 3, move |inner| {
        (inner, prop::collection::vec(leaf.clone(), 0..3), ".{0,8}", any::<bool>()).prop_map(
            |(inner, mut beside, name, object)| {
                if object {
                    let mut object = serde_json::Map::new();
                    object.insert("beside".to_owned(), beside.into());
                    object.insert(name, inner);
                    object.into()
                } else {
                    beside.push(inner);
                    beside.into()
                }
            },
        )
    })
}

const PLANTED: &str = "sk-abcdefghijklmnop0123456789";

proptest! {
    #[test]
    fn no_nesting_hides_a_secret(value in around(PLANTED)) {
        let json = serde_json::json!({ "value": value }).to_string();
        prop_assert!(json.contains(PLANTED));
        let parameters = parameter(Capture::Redacted, &json).to_string();
        prop_assert!(!parameters.contains(PLANTED), "{}", parameters);
    }

    #[test]
    fn any_bytes_convert_to_something_that_decodes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        convert(Capture::Redacted, &Call { arguments: Some(bytes.into()), ..call() });
    }
}
