//! Where the call log goes. Lines are whole: one that was cut off by an error is ended before
//! the next begins.

use std::{
    fmt,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::platform;

/// What stands for standard error.
const STDERR: &str = "-";

/// Why the call log cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be opened.
    #[error(
        "open the call log {}: {cause}; name a file that can be written",
        crate::config::shown::path(path)
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
}

/// A file, or standard error.
#[derive(Debug)]
pub(super) struct Target {
    place: Place,
    /// The last line that was written is not whole.
    cut_off: bool,
    /// Lines written whole since [`Target::write`] was called last.
    written: Arc<AtomicUsize>,
}

#[derive(Debug)]
enum Place {
    Stderr,
    /// No file for a named pipe that nobody reads.
    File {
        path: PathBuf,
        file: Option<File>,
    },
}

impl Target {
    pub(super) fn open(target: &str) -> Result<Self, Error> {
        let place = if target == STDERR {
            Place::Stderr
        } else {
            let path = PathBuf::from(target);
            match platform::append_to(&path) {
                Ok(file) => Place::File { path, file },
                Err(cause) => return Err(Error::Open { path, cause }),
            }
        };
        Ok(Self { place, cut_off: false, written: Arc::default() })
    }

    /// How many lines [`Target::write`] has written whole, while it is at it.
    pub(super) fn written(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.written)
    }

    /// Whether this is a named pipe that nobody read when it was opened last.
    pub(super) fn is_unread(&self) -> bool {
        matches!(self.place, Place::File { file: None, .. })
    }

    /// Writes these lines, which end with a line feed. How many were written whole, and what
    /// was in the way of the others.
    pub(super) fn write(&mut self, lines: &[Vec<u8>]) -> (usize, io::Result<()>) {
        let mut bytes = if self.cut_off { vec![b'\n'] } else { Vec::new() };
        let mut ends = Vec::with_capacity(lines.len());
        for line in lines {
            bytes.extend(line);
            ends.push(bytes.len());
        }
        let whole = |sent: usize| ends.partition_point(|&end| end <= sent);
        let written = self.written();
        let (sent, result) =
            self.send(&bytes, |sent| written.store(whole(sent), Ordering::Relaxed));
        if let Some(last) = bytes[..sent].last() {
            self.cut_off = *last != b'\n';
        }
        (whole(sent), result)
    }

    fn send(&mut self, bytes: &[u8], progress: impl Fn(usize)) -> (usize, io::Result<()>) {
        let (path, file) = match &mut self.place {
            Place::Stderr => {
                return platform::write_watched(&mut io::stderr().lock(), bytes, progress);
            }
            Place::File { path, file } => (path, file),
        };
        if file.as_ref().is_none_or(|file| was_rotated(path, file)) {
            match platform::append_to(path) {
                Ok(new) => *file = new,
                Err(error) => return (0, Err(error)),
            }
            self.cut_off = false;
        }
        match file {
            Some(file) => platform::write_watched(file, bytes, progress),
            None => (0, Err(io::Error::new(io::ErrorKind::BrokenPipe, "nobody reads this pipe"))),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Stderr => f.write_str("standard error"),
            Place::File { path, .. } => write!(f, "{}", path.display()),
        }
    }
}

/// Whether the file is no longer the one at the path.
fn was_rotated(path: &Path, file: &File) -> bool {
    let there = fs::metadata(path).ok();
    let here = file.metadata().ok();
    there.is_none()
        || there.map(|there| platform::identity(&there))
            != here.map(|here| platform::identity(&here))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(texts: &[&str]) -> Vec<Vec<u8>> {
        texts.iter().map(|text| format!("{text}\n").into_bytes()).collect()
    }

    #[test]
    fn lines_are_appended_to_what_is_there() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "old\n").unwrap();
        let mut target = Target::open(file.path().to_str().unwrap()).unwrap();
        let (whole, result) = target.write(&lines(&["a", "b"]));
        result.unwrap();
        assert_eq!(whole, 2);
        assert_eq!(fs::read_to_string(file.path()).unwrap(), "old\na\nb\n");
    }

    #[test]
    #[cfg(unix)]
    fn a_file_that_was_rotated_away_is_opened_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("calls");
        let mut target = Target::open(path.to_str().unwrap()).unwrap();
        target.write(&lines(&["a"])).1.unwrap();
        fs::rename(&path, folder.path().join("calls.1")).unwrap();
        target.write(&lines(&["b"])).1.unwrap();
        // As a tool does that rotates by renaming a new file into place.
        fs::write(folder.path().join("new"), "").unwrap();
        fs::rename(folder.path().join("new"), &path).unwrap();
        target.write(&lines(&["c"])).1.unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("calls.1")).unwrap(), "a\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "c\n");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_is_an_error_and_loses_all_it_could_not_take() {
        let mut target = Target::open("/dev/full").unwrap();
        let (whole, result) = target.write(&lines(&["a", "b"]));
        assert_eq!(whole, 0);
        assert!(result.is_err());
    }

    #[test]
    fn a_line_that_was_cut_off_is_ended_before_the_next() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut target = Target::open(file.path().to_str().unwrap()).unwrap();
        // As after a disk that was full in the middle of a line.
        fs::write(file.path(), "{\"time\":").unwrap();
        target.cut_off = true;
        let (whole, result) = target.write(&lines(&["a", "b"]));
        result.unwrap();
        assert_eq!(whole, 2);
        assert_eq!(fs::read_to_string(file.path()).unwrap(), "{\"time\":\na\nb\n");
        assert!(!target.cut_off);
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let error = Target::open("/no/such/folder/calls").unwrap_err().to_string();
        assert!(error.contains("/no/such/folder/calls"), "{error}");
    }
}
