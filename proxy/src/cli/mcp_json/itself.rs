//! Finds entries that would start the proxy on the file that they stand in, for ever.

use std::path::{Path, PathBuf};

use super::Entry;
use crate::cli::Environment;

/// Whether the entry starts this program with `file` as its `--config`.
pub(super) fn started_by(entry: &Entry, file: &Path, environment: &Environment) -> bool {
    let Some(command) = &entry.command else { return false };
    if !is_this_program(command, environment) {
        return false;
    }
    let folder = entry.cwd.as_deref().map(PathBuf::from).unwrap_or_default();
    let own = file.canonicalize().ok();
    let is_own = |path: &str| own.is_some() && folder.join(path).canonicalize().ok() == own;
    let variable = entry.env.get("MCPULSE_PROXY_CONFIG").and_then(serde_json::Value::as_str);
    configs(&entry.args).chain(variable).any(is_own)
}

/// The values of `--config` among the arguments.
fn configs(args: &[String]) -> impl Iterator<Item = &str> {
    let behind = args.windows(2).filter(|pair| pair[0] == "--config").map(|pair| pair[1].as_str());
    behind.chain(args.iter().filter_map(|arg| arg.strip_prefix("--config=")))
}

/// Whether the command is this program: by its name, or the file that it stands for.
fn is_this_program(command: &str, environment: &Environment) -> bool {
    let path = Path::new(command);
    if path.file_stem().is_some_and(|stem| stem == env!("CARGO_PKG_NAME")) {
        return true;
    }
    let found = if path.components().count() > 1 {
        path.canonicalize().ok()
    } else {
        let folders = environment.get("PATH").unwrap_or_default();
        std::env::split_paths(folders).find_map(|folder| folder.join(path).canonicalize().ok())
    };
    let own = environment.program.as_ref().and_then(|program| program.canonicalize().ok());
    found.is_some() && found == own
}
