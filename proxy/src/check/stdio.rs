//! Asks a server that is a program, through the relay that would stand before it.

use std::{
    ffi::OsString,
    fs::File,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    sync::{Arc, OnceLock},
};

use serde::de::IgnoredAny;

use super::hello;
use crate::{
    config::Command,
    platform,
    ready::Ready,
    relay::stdio::{Client, Session},
    shutdown::Shutdown,
    sink::veil,
    tap::Tap,
};

/// Bytes after which there is no more hope of an answer.
const ENOUGH: u64 = 16 << 20;
/// Characters that are shown of a line which is no answer.
const SHOWN: usize = 80;

/// What the server says to the question.
pub(super) async fn ask(
    command: &Command,
    environment: Vec<(OsString, OsString)>,
) -> Result<String, String> {
    let pipe = || platform::pipe().map_err(|error| format!("make a pipe: {error}"));
    let ((input, mut question), (answers, output)) = (pipe()?, pipe()?);
    let (tap, _) = Tap::new(0);
    tap.close();
    let shutdown = Shutdown::default();
    let session = Session {
        client: Client { input, output },
        command,
        environment,
        server_id: Arc::from("check"),
        tap: &tap,
        gate: Ready::default().gate("server"),
        shutdown: &shutdown,
    };
    let program = veil::program(&command.program);
    let conversation = async {
        // A pipe holds more than the question, so that this waits for nobody.
        writeln!(question, "{}", hello::question()).map_err(|error| error.to_string())?;
        let other = Arc::new(OnceLock::new());
        let heard_other = Arc::clone(&other);
        let listening = tokio::task::spawn_blocking(move || listen(answers, &heard_other));
        let heard = tokio::time::timeout(hello::PATIENCE, listening).await;
        drop(question);
        let instead = || match other.get() {
            Some(line) => format!("; on standard output it said {line:?}, which is not MCP"),
            None => String::new(),
        };
        match heard {
            Ok(Ok(Some(answer))) => answer
                .map(|answer| format!("`{program}` {answer}"))
                .map_err(|problem| format!("`{program}` {problem}")),
            Ok(_) => Err(format!(
                "`{program}` gave no answer{}; start it by itself to see why",
                instead()
            )),
            Err(_) => Err(format!(
                "`{program}` has not answered within {:?}{}; does it speak MCP on standard input \
                 and output?",
                hello::PATIENCE,
                instead()
            )),
        }
    };
    let (ended, heard) = tokio::join!(session.run(std::future::pending()), conversation);
    ended.map_err(|error| error.to_string())?;
    heard
}

/// Reads until the answer comes; none when the server says no more. Keeps the beginning of the
/// first line that is no message at all.
fn listen(answers: File, other: &OnceLock<String>) -> Option<Result<String, String>> {
    let lines = BufReader::new(answers.take(ENOUGH)).split(b'\n');
    lines.map_while(Result::ok).find_map(|line| {
        let answer = hello::answer(&line);
        if answer.is_none() && serde_json::from_slice::<IgnoredAny>(&line).is_err() {
            let text = String::from_utf8_lossy(&line);
            other.get_or_init(|| text.chars().take(SHOWN).collect());
        }
        answer
    })
}
