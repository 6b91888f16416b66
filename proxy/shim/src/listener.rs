//! The socket that the sidecar connects to, wherever another shim has left one.

use std::{
    fs,
    io::{Error, ErrorKind},
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _},
        net::{UnixListener, UnixStream},
    },
    path::Path,
};

/// Who may connect: sidecar and server run as different users, and often share no group. Who
/// cannot see the volume, which only these two have, cannot connect either.
const MODE: u32 = 0o666;

/// Listens at `path`. What a shim has left there that is gone is replaced, without a moment in
/// which nothing is there.
///
/// # Errors
/// That it cannot, and what to do.
pub(crate) fn bind(path: &Path) -> Result<UnixListener, String> {
    let at = path.display();
    if let Ok(there) = fs::symlink_metadata(path) {
        if !there.file_type().is_socket() {
            return Err(format!("{at} is there and no socket; name another place with --listen"));
        }
        if UnixStream::connect(path).is_ok() {
            return Err(format!(
                "another process listens at {at}; name another place with --listen"
            ));
        }
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = Path::new(&beside);
    let bound = remove(beside).and_then(|()| UnixListener::bind(beside)).and_then(|listener| {
        listener.set_nonblocking(true)?;
        fs::set_permissions(beside, fs::Permissions::from_mode(MODE))?;
        fs::rename(beside, path)?;
        Ok(listener)
    });
    bound.map_err(|error| {
        format!("cannot listen at {at}: {error}; its directory must be there and writable")
    })
}

/// Removes a file that may be there.
fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_nobody_listens_at_is_replaced_and_no_other() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("mcp.sock");
        let first = bind(&path).expect("a socket");
        let mode = fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, MODE);
        assert!(bind(&path).is_err_and(|said| said.contains("another process listens")));
        drop(first);
        let _second = bind(&path).expect("the same place again");
        UnixStream::connect(&path).expect("somebody listens");
        assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 1);
        let file = directory.path().join("file");
        fs::write(&file, "kept").expect("a file");
        assert!(bind(&file).is_err_and(|said| said.contains("no socket")));
        assert!(bind(Path::new("/nowhere/mcp.sock")).is_err_and(|said| said.contains("writable")));
    }
}
