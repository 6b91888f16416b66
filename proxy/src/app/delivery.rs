//! Puts the shim where the container of the server starts it.

use std::{
    env,
    fs::{self, File},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use anyhow::Context as _;

/// The name of the program, which lies beside this one.
const SHIM: &str = "mcpulse-shim";

/// Copies the shim to `place`, in one step for whoever looks there: it may be running there, and
/// others may write into that directory. Everybody may start it, and nobody change it.
///
/// # Errors
/// Which file was in the way, and why.
pub(super) fn deliver(place: &Path) -> anyhow::Result<()> {
    let own = env::current_exe().context("find this program's own file")?;
    let shim = own.with_file_name(format!("{SHIM}{}", env::consts::EXE_SUFFIX));
    let opened = File::open(&shim).with_context(|| format!("read the shim {}", shim.display()));
    copy(&opened?, place).with_context(|| {
        format!("copy the shim to {}; is its directory there and writable?", place.display())
    })?;
    tracing::info!(place = %place.display(), "delivered the shim");
    Ok(())
}

fn copy(mut shim: &File, place: &Path) -> io::Result<()> {
    let beside = beside(place);
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Not what somebody else may have put there, be it a link.
    let mut copy = File::create_new(&beside)?;
    let copied = io::copy(&mut shim, &mut copy).and_then(|_| executable(&copy));
    // A file that is open for writing cannot be started.
    drop(copy);
    let placed = copied.and_then(|()| fs::rename(&beside, place));
    if placed.is_err() {
        let _ = fs::remove_file(&beside);
    }
    placed
}

/// Where the copy is made.
fn beside(place: &Path) -> PathBuf {
    let mut name = place.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

#[cfg(unix)]
fn executable(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.set_permissions(fs::Permissions::from_mode(0o555))
}

#[cfg(not(unix))]
fn executable(_: &File) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn what_was_there_is_replaced_in_one_step_and_no_link_is_followed() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name| directory.path().join(name);
        fs::write(at("source"), "new").unwrap();
        fs::write(at("elsewhere"), "kept").unwrap();
        fs::write(at("shim"), "old").unwrap();
        symlink(at("elsewhere"), at("shim.new")).unwrap();
        let running = File::open(at("shim")).unwrap();
        copy(&File::open(at("source")).unwrap(), &at("shim")).unwrap();
        assert_eq!(fs::read_to_string(at("shim")).unwrap(), "new");
        assert_eq!(fs::read_to_string(at("elsewhere")).unwrap(), "kept");
        let (before, now) = (running.metadata().unwrap(), fs::metadata(at("shim")).unwrap());
        assert_ne!(before.ino(), now.ino(), "who runs the old one keeps it");
        assert_eq!(now.permissions().mode() & 0o777, 0o555);
        assert!(!at("shim.new").exists());
        // As in an image whose volume is missing.
        assert!(copy(&File::open(at("source")).unwrap(), &at("no/shim")).is_err());
    }
}
