//! `recorder DIRECTORY PROGRAM ARGS…` runs a program and keeps, in files of a new directory
//! below DIRECTORY, every byte that passes its standard streams. It changes none of them.

use std::{
    env,
    fs::{self, File},
    io::{self, Read, Write},
    path::PathBuf,
    process::{self, Command, ExitCode, Stdio},
    thread,
};

/// Copies bytes as they come, into the record first. Where `to` is gone, the record goes on:
/// both sides of a proxy are compared, and one side may notice the end sooner.
fn pump(mut from: impl Read, mut to: impl Write, mut record: File) -> io::Result<()> {
    let mut chunk = vec![0; 64 << 10];
    let mut open = true;
    loop {
        let count = match from.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        record.write_all(&chunk[..count])?;
        open = open && to.write_all(&chunk[..count]).and_then(|()| to.flush()).is_ok();
    }
}

fn run() -> io::Result<ExitCode> {
    let mut args = env::args_os().skip(1);
    let (Some(directory), Some(program)) = (args.next(), args.next()) else {
        return Err(io::Error::other("usage: recorder DIRECTORY PROGRAM ARGS…"));
    };
    let directory = PathBuf::from(directory).join(process::id().to_string());
    fs::create_dir_all(&directory)?;
    let record = |name: &str| File::create(directory.join(name));
    let (to_server, to_client, stderr) =
        (record("to-server")?, record("to-client")?, record("stderr")?);
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let missing = || io::Error::other("a stream of the program is missing");
    let input = child.stdin.take().ok_or_else(missing)?;
    let output = child.stdout.take().ok_or_else(missing)?;
    let errors = child.stderr.take().ok_or_else(missing)?;
    // Blocked on its input until the client closes it: not joined, for the program may end
    // before that. `input` closes with the thread.
    thread::spawn(move || pump(io::stdin(), input, to_server));
    let errors = thread::spawn(move || pump(errors, io::stderr(), stderr));
    pump(output, io::stdout(), to_client)?;
    let _ = errors.join();
    let status = child.wait()?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, Into::into))
}

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        eprintln!("recorder: {error}");
        ExitCode::FAILURE
    })
}
