//! Files and directories that must be there when the proxy starts.

use std::path::Path;

use super::header;
use crate::config::Secret;

/// A file that can be opened.
pub(super) fn readable(path: &str) -> Result<String, String> {
    match std::fs::File::open(path) {
        Ok(_) => Ok(path.to_owned()),
        Err(error) => Err(format!("names the file {path}, which cannot be read: {error}")),
    }
}

/// A file that holds a secret.
pub(super) fn secret(path: &str) -> Result<String, String> {
    let text = Secret::File(path.into()).reveal().map_err(|error| format!("fails to {error}"))?;
    if text.trim().is_empty() {
        return Err(format!("names the file {path}, which is empty"));
    }
    header::sendable(&text).map_err(|why| format!("names the file {path}, which {why}"))?;
    Ok(path.to_owned())
}

/// A directory.
pub(super) fn directory(path: &str) -> Result<String, String> {
    if Path::new(path).is_dir() {
        Ok(path.to_owned())
    } else {
        Err(format!("names {path}, which is no directory"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_at_once_and_never_shown() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        assert!(secret(&write("good", "hunter2\n")).is_ok());
        assert!(secret(&write("empty", "\n")).is_err_and(|error| error.contains("is empty")));
        let error = secret(&write("two lines", "hunter2\nhunter3")).unwrap_err();
        assert!(error.contains("line end") && !error.contains("hunter"), "{error}");
        assert!(secret("/no/such/file").is_err_and(|error| error.contains("/no/such/file")));
    }
}
