//! Files and directories that must be there when the proxy starts.

use std::path::Path;

use super::header;
use crate::config::{Secret, shown};

/// A file with a PEM block of this label; a private key may say of which kind it is.
pub(super) fn pem(path: &str, label: &str) -> Result<String, String> {
    let shown = shown::path(Path::new(path));
    let text = std::fs::read(path)
        .map_err(|error| format!("names the file {shown}, which cannot be read: {error}"))?;
    if String::from_utf8_lossy(&text).contains(&format!("{label}-----")) {
        Ok(path.to_owned())
    } else {
        Err(format!("names the file {shown}, which has no {label} in PEM (-----BEGIN …)"))
    }
}

/// A file that holds a secret.
pub(super) fn secret(path: &str) -> Result<String, String> {
    let text = Secret::File(path.into()).reveal().map_err(|error| format!("fails to {error}"))?;
    let shown = shown::path(Path::new(path));
    if text.trim().is_empty() {
        return Err(format!("names the file {shown}, which is empty"));
    }
    header::sendable(&text).map_err(|why| format!("names the file {shown}, which {why}"))?;
    Ok(path.to_owned())
}

/// A directory.
pub(super) fn directory(path: &str) -> Result<String, String> {
    if Path::new(path).is_dir() {
        Ok(path.to_owned())
    } else {
        Err(format!("names {}, which is no directory", shown::path(Path::new(path))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_must_have_what_it_is_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        std::fs::write(&path, b"\xff\n-----BEGIN EC PRIVATE KEY-----\nhunter2").unwrap();
        let path = path.to_str().unwrap();
        assert!(pem(path, "PRIVATE KEY").is_ok());
        let error = pem(path, "CERTIFICATE").unwrap_err();
        assert!(error.contains("has no CERTIFICATE in PEM") && !error.contains("hunter2"));
        assert!(
            pem("/no/such/file", "CERTIFICATE")
                .is_err_and(|error| error.contains("cannot be read"))
        );
    }

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
