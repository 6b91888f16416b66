//! Asks a server that is a program, through the relay that would stand before it.

use std::{
    ffi::OsString,
    fs::File,
    io::{BufRead, BufReader, Write},
    sync::Arc,
};

use super::hello;
use crate::{
    config::Command,
    platform,
    ready::Ready,
    relay::stdio::{Client, Session},
    shutdown::Shutdown,
    tap::Tap,
};

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
    let program = &command.program;
    let conversation = async {
        // A pipe holds more than the question, so that this waits for nobody.
        writeln!(question, "{}", hello::question()).map_err(|error| error.to_string())?;
        let listening = tokio::task::spawn_blocking(move || listen(answers));
        let heard = tokio::time::timeout(hello::PATIENCE, listening).await;
        drop(question);
        match heard {
            Ok(Ok(Some(answer))) => Ok(format!("`{program}` {answer}")),
            Ok(_) => {
                Err(format!("`{program}` ended without an answer; start it by itself to see why"))
            }
            Err(_) => Err(format!(
                "`{program}` has not answered within {:?}; does it speak MCP on standard input \
                 and output?",
                hello::PATIENCE
            )),
        }
    };
    let (ended, heard) = tokio::join!(session.run(std::future::pending()), conversation);
    ended.map_err(|error| error.to_string())?;
    heard
}

/// Reads until the answer comes; none when the server says no more.
fn listen(answers: File) -> Option<String> {
    let lines = BufReader::new(answers).split(b'\n');
    lines.map_while(Result::ok).find_map(|line| hello::answer(&line))
}
