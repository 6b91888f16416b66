//! Control groups, which outlive all that was in them.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

const HIERARCHIES: &str = "/sys/fs/cgroup";
const PREFIX: &str = "mcpulse-node-";
/// A file by which tests that failed keep what they wrote.
pub const FAILED: &str = "failed";

/// The name of the control group of a node that this process has.
pub fn name(process: u32) -> String {
    format!("{PREFIX}{process}")
}

/// Where control groups are made: in each hierarchy of the first version, or in the one of the
/// second.
fn roots() -> Vec<PathBuf> {
    let unified = Path::new(HIERARCHIES);
    if unified.join("cgroup.controllers").exists() {
        return vec![unified.to_owned()];
    }
    let hierarchies = fs::read_dir(unified).into_iter().flatten().flatten();
    let hierarchies = hierarchies.map(|hierarchy| hierarchy.path());
    hierarchies.filter(|hierarchy| hierarchy.join("cgroup.procs").exists()).collect()
}

/// Makes it.
///
/// # Panics
/// Where that is not permitted.
pub fn make(name: &str) {
    // An earlier process may have had our number.
    let _ = remove(name);
    for root in roots() {
        let made = fs::create_dir(root.join(name));
        made.unwrap_or_else(|why| panic!("{}: {why}; this takes root", root.join(name).display()));
    }
}

/// Every control group of this name and of those below it.
pub fn all(name: &str) -> Vec<PathBuf> {
    roots().into_iter().map(|root| root.join(name)).filter(|group| group.exists()).collect()
}

/// Removes it with all below it, in which nobody is any more.
///
/// # Errors
/// When somebody still is.
pub fn remove(name: &str) -> io::Result<()> {
    all(name).iter().try_for_each(|group| remove_tree(group))
}

/// Removes those of processes that are gone.
pub fn remove_orphans() {
    for root in roots() {
        for group in fs::read_dir(root).into_iter().flatten().flatten() {
            let name = group.file_name();
            let process = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
            if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
                // Somebody may be doing so.
                let _ = remove_tree(&group.path());
            }
        }
    }
}

fn remove_tree(group: &Path) -> io::Result<()> {
    for below in fs::read_dir(group)?.flatten() {
        if below.file_type()?.is_dir() {
            remove_tree(&below.path())?;
        }
    }
    match fs::remove_dir(group) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
