//! Finds the programs of this workspace that the tests run.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// The directory in which cargo puts the programs of this build.
pub fn directory() -> PathBuf {
    let this = env::current_exe().expect("the path of this program");
    let directory = this.parent().expect("a program is in a directory");
    // Tests are one level below.
    let directory = if directory.ends_with("deps") { directory.parent() } else { Some(directory) };
    directory.expect("cargo's layout").to_owned()
}

/// The path of a program, checked to be built from the sources as they are now.
///
/// # Panics
/// When it is missing or older than one of its sources, saying how to build it.
pub fn program(name: &str) -> PathBuf {
    let path = directory().join(format!("{name}{}", env::consts::EXE_SUFFIX));
    if let Err(problem) = fresh(&path) {
        panic!("{problem}; `cargo test --workspace --no-run` builds it");
    }
    path
}

fn fresh(path: &Path) -> Result<(), String> {
    let built = modified(path).ok_or_else(|| format!("{} is missing", path.display()))?;
    // Beside each program, cargo lists the sources that it was built from.
    let list = path.with_extension("d");
    let list = fs::read_to_string(&list).map_err(|e| format!("reading {}: {e}", list.display()))?;
    let (_, sources) = list.split_once(": ").ok_or("cargo's list of sources has no colon")?;
    let sources = sources.replace("\\ ", "\0");
    for source in sources.split_whitespace().map(|source| source.replace('\0', " ")) {
        if modified(Path::new(&source)).is_none_or(|changed| changed > built) {
            return Err(format!("{} is older than {source}", path.display()));
        }
    }
    Ok(())
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}
