//! Finds the programs of this workspace that the tests run.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// Sources of the proxy that its program on this system may not contain.
const ELSEWHERE: [&str; 4] = ["macos", "other", "tests", "windows"];

/// The directory in which cargo puts the programs of this build.
pub fn directory() -> PathBuf {
    let this = env::current_exe().expect("the path of this program");
    let directory = this.parent().expect("a program is in a directory");
    // Tests are one level below.
    let directory = if directory.ends_with("deps") { directory.parent() } else { Some(directory) };
    directory.expect("cargo's layout").to_owned()
}

/// The path of a program of this workspace.
///
/// # Panics
/// When it is missing, or when it is one under test and older than its sources: cargo builds the
/// programs of other packages only when it is asked to test or build the whole workspace.
pub fn program(name: &str) -> PathBuf {
    let path = directory().join(format!("{name}{}", env::consts::EXE_SUFFIX));
    let how = "`cargo test --workspace --no-run` builds it";
    let built = modified(&path).unwrap_or_else(|| panic!("{} is missing; {how}", path.display()));
    let sources: &[&str] = match name {
        "mcpulse-proxy" => &["proxy"],
        "mcpulse-shim" => &["proxy/shim"],
        "mcpulse-operator" => &["operator", "proxy"],
        _ => &[],
    };
    for of in sources {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(of).join("src");
        if let Some(newer) = newer(&sources, built) {
            panic!("{} is older than {}; {how}", path.display(), newer.display());
        }
    }
    path
}

/// A source below `directory` that changed after `built`.
fn newer(directory: &Path, built: SystemTime) -> Option<PathBuf> {
    for entry in fs::read_dir(directory).ok()?.flatten() {
        let path = entry.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if ELSEWHERE.contains(&stem) {
            continue;
        }
        if path.is_dir() {
            if let Some(newer) = newer(&path, built) {
                return Some(newer);
            }
        } else if modified(&path).is_some_and(|changed| changed > built) {
            return Some(path);
        }
    }
    None
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}
