//! What a message says: how a request ended, how a task goes on.

use crate::{
    jsonrpc::{self, Id},
    mcp::Field,
    record::{ERROR_TEXT_LIMIT, Outcome},
    scan::{Form, Message, cut},
};

/// What an answer says.
#[derive(Debug)]
pub(super) enum Verdict {
    /// The request has ended so.
    Ended(Outcome),
    /// The server made this task of it.
    Task(Id),
}

/// What the answer to anything but a request about tasks says.
pub(super) fn verdict(answer: &Message) -> Verdict {
    if jsonrpc::is_error(answer) {
        return Verdict::Ended(Outcome::RpcError(code(answer)));
    }
    let kind = answer.text(Field::ResultType);
    match kind.as_deref() {
        Some("input_required") => Verdict::Ended(Outcome::InputRequired),
        Some("task") => task(answer),
        None if answer.form(Field::Task) == Form::Nested => task(answer),
        None | Some("complete") => Verdict::Ended(result(answer, Field::IsError)),
        Some(_) => Verdict::Ended(Outcome::Other),
    }
}

fn task(answer: &Message) -> Verdict {
    match Id::of(answer, Field::TaskId) {
        Some(task) => Verdict::Task(task),
        None => Verdict::Ended(Outcome::Task),
    }
}

/// What a message tells about a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing.
    Nothing,
    /// It goes on.
    Working,
    /// It has ended so, but its result will tell more.
    Settled(Outcome),
    /// It has ended so.
    Ended(Outcome),
}

/// What the answer to `tasks/get` and its like, or a notification, tells about a task.
pub(super) fn progress(message: &Message) -> Progress {
    if jsonrpc::is_error(message) {
        return Progress::Nothing;
    }
    let Some(status) = message.text(Field::TaskStatus) else { return Progress::Nothing };
    // Since 2026-07-28 the result comes along; before, `tasks/result` fetches it.
    let with_result = message.has(Field::TaskResult);
    match &*status {
        "completed" if with_result => Progress::Ended(result(message, Field::TaskIsError)),
        "completed" => Progress::Settled(Outcome::Ok),
        "failed" if message.has(Field::Code) => Progress::Ended(Outcome::RpcError(code(message))),
        "failed" if with_result => Progress::Ended(Outcome::ToolError),
        "failed" => Progress::Settled(Outcome::ToolError),
        "cancelled" => Progress::Ended(Outcome::Cancelled),
        _ => Progress::Working,
    }
}

fn result(message: &Message, is_error: Field) -> Outcome {
    if message.is_true(is_error) { Outcome::ToolError } else { Outcome::Ok }
}

/// `error.code`; 0, which no peer may use, if it is not an integer.
pub(super) fn code(message: &Message) -> i64 {
    match Id::of(message, Field::Code) {
        Some(Id::Number(code)) => code,
        _ => 0,
    }
}

/// What went wrong, in the words of the message.
pub(super) fn error_text(message: &Message, outcome: Outcome) -> Option<Box<str>> {
    let field = match outcome {
        Outcome::RpcError(_) => Field::Message,
        Outcome::ToolError => Field::Text,
        _ => return None,
    };
    message.text(field).map(|text| cut(&text, ERROR_TEXT_LIMIT).into())
}
