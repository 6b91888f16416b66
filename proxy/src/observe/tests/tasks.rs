use super::*;

const LEGACY: &str = r#"{"task":{"taskId":"t1","status":"working","ttl":60000}}"#;
const MODERN: &str = r#"{"resultType":"task","taskId":"t1","status":"working"}"#;

fn about(id: &str, method: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{"taskId":"t1"}}}}"#)
}

fn modern_about(id: &str, method: &str) -> String {
    format!(
        r#"{{"id":{id},"method":"{method}","params":{{"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}},"taskId":"t1"}}}}"#
    )
}

fn status(status: &str) -> String {
    format!(r#"{{"taskId":"t1","status":"{status}"}}"#)
}

/// A stdio session in which call 1 has become task `t1`, one second ago.
fn task(request: &str, created: &str) -> (Script, Talk) {
    let mut script = Script::new();
    let talk = script.stdio();
    script.client(&talk, request);
    script.server(&talk, &result("1", created));
    script.pass(Duration::from_secs(1));
    assert_eq!(script.calls(), []);
    (script, talk)
}

fn ask(script: &mut Script, talk: &Talk, method: &str, answer: &str) {
    script.client(talk, &about("2", method));
    script.server(talk, &result("2", answer));
}

#[test]
fn a_legacy_task_ends_with_its_result() {
    let (mut script, talk) = task(&call("1"), LEGACY);
    ask(&mut script, &talk, "tasks/get", &status("working"));
    script.pass(Duration::from_secs(1));
    ask(&mut script, &talk, "tasks/get", &status("completed"));
    script.pass(Duration::from_secs(1));
    assert_eq!(script.calls(), []);
    ask(&mut script, &talk, "tasks/result", r#"{"content":[{"text":"no"}],"isError":true}"#);
    let record = script.record();
    assert_eq!((&*record.request_id, record.outcome), ("1", Outcome::ToolError));
    assert_eq!(record.error_message.as_deref(), Some("no"));
    assert_eq!(record.duration, Duration::from_secs(2));
    assert_eq!(script.ended("tasks/get", ""), 2);
    script.finish();
    assert_eq!(script.calls(), []);
}

#[test]
fn a_result_may_be_waited_for() {
    let (mut script, talk) = task(&call("1"), LEGACY);
    script.client(&talk, &about("2", "tasks/result"));
    script.pass(Duration::from_secs(4));
    script.server(&talk, &error("2", -32603));
    let record = script.record();
    assert_eq!(record.outcome, Outcome::RpcError(-32603));
    assert_eq!(record.duration, Duration::from_secs(5));
}

#[test]
fn a_result_that_is_not_fetched_leaves_the_status() {
    for (told, outcome) in [("completed", Outcome::Ok), ("failed", Outcome::ToolError)] {
        let (mut script, talk) = task(&call("1"), LEGACY);
        let notification =
            format!(r#"{{"method":"notifications/tasks/status","params":{}}}"#, status(told));
        script.server(&talk, &notification);
        script.pass(Duration::from_secs(59));
        assert_eq!(script.calls(), []);
        script.pass(Duration::from_secs(2));
        let record = script.record();
        assert_eq!((record.outcome, record.duration), (outcome, Duration::from_secs(1)));
        assert_eq!(script.odd(Oddity::Expired), 0);
    }
}

#[test]
fn a_cancelled_task_is_a_cancelled_call() {
    let (mut script, talk) = task(&call("1"), LEGACY);
    ask(&mut script, &talk, "tasks/cancel", &status("cancelled"));
    assert_eq!(script.outcome(), Outcome::Cancelled);
}

#[test]
fn a_modern_task_tells_its_result_with_its_status() {
    for (told, outcome) in [
        (r#"{"taskId":"t1","status":"completed","result":{"content":[]}}"#, Outcome::Ok),
        (r#"{"taskId":"t1","status":"completed","result":{"isError":true}}"#, Outcome::ToolError),
        (
            r#"{"taskId":"t1","status":"failed","error":{"code":-5,"message":"m"}}"#,
            Outcome::RpcError(-5),
        ),
        (r#"{"taskId":"t1","status":"cancelled"}"#, Outcome::Cancelled),
    ] {
        let (mut script, talk) = task(&modern("1"), MODERN);
        script.client(&talk, &modern_about("2", "tasks/get"));
        script.server(&talk, &result("2", r#"{"taskId":"t1","status":"input_required"}"#));
        assert_eq!(script.calls(), []);
        script.client(&talk, &modern_about("3", "tasks/get"));
        script.server(&talk, &result("3", told));
        assert_eq!(script.calls(), [("1".to_owned(), outcome)], "{told}");
        let (mut script, talk) = task(&modern("1"), MODERN);
        script.server(&talk, &format!(r#"{{"method":"notifications/tasks","params":{told}}}"#));
        assert_eq!(script.calls(), [("1".to_owned(), outcome)], "{told}");
    }
}

#[test]
fn a_modern_task_is_told_about_on_any_exchange() {
    let mut script = Script::new();
    let talk = script.post(None, &modern("1"));
    script.reply(&talk, 200, &result("1", MODERN));
    script.pass(Duration::from_secs(1));
    assert_eq!((script.calls(), script.in_flight()), (vec![], 0));
    let talk = script.post(None, &modern_about("1", "tasks/get"));
    script.reply(&talk, 200, &result("1", r#"{"taskId":"t1","status":"completed","result":{}}"#));
    assert_eq!(script.outcome(), Outcome::Ok);
    script.assert_clean();
}

#[test]
fn a_legacy_task_belongs_to_its_session() {
    let mut script = Script::new();
    let talk = script.post(Some("s"), &call("1"));
    script.reply(&talk, 200, &result("1", LEGACY));
    for (session, records) in [("other", 0), ("s", 1)] {
        let talk = script.post(Some(session), &about("2", "tasks/result"));
        script.reply(&talk, 200, &ok("2"));
        assert_eq!(script.calls().len(), records, "{session}");
    }
}

#[test]
fn a_task_whose_end_is_not_seen_stays_a_task() {
    let (mut script, talk) = task(&call("1"), LEGACY);
    for _ in 0..3 {
        script.pass(Duration::from_mins(50));
        ask(&mut script, &talk, "tasks/get", &status("working"));
    }
    assert_eq!(script.calls(), []);
    script.pass(Duration::from_mins(61));
    assert_eq!(script.outcome(), Outcome::Task);
    let (mut script, talk) = task(&call("1"), LEGACY);
    script.end(&talk, ToClient, End::ServerGone);
    assert_eq!(script.outcome(), Outcome::Task);
}

#[test]
fn two_calls_cannot_be_one_task() {
    let (mut script, talk) = task(&call("1"), LEGACY);
    script.client(&talk, &call("2"));
    script.server(&talk, &result("2", LEGACY));
    assert_eq!(script.calls(), [("2".to_owned(), Outcome::Task)]);
    ask(&mut script, &talk, "tasks/result", "{}");
    assert_eq!(script.calls(), [("1".to_owned(), Outcome::Ok)]);
}

#[test]
fn clients_have_tasks_too() {
    let mut script = Script::new();
    let talk = script.stdio();
    script.server(&talk, &request("1", "sampling/createMessage"));
    script.client(&talk, &result("1", LEGACY));
    assert_eq!(script.ended("sampling/createMessage", ""), 0);
    script.server(&talk, &about("2", "tasks/result"));
    script.client(&talk, &result("2", "{}"));
    assert_eq!(script.ended("sampling/createMessage", ""), 1);
}
