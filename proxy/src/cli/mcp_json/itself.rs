//! Finds entries that would start the proxy on the file that they stand in, for ever.
//! What hides better than this is found when it runs, by [`crate::cli::chain`].

use std::path::{Path, PathBuf};

use crate::cli::Environment;

/// What an entry starts, with its references replaced.
#[derive(Debug, Default)]
pub(super) struct Started {
    /// The command and its arguments.
    pub(super) words: Vec<String>,
    /// The file that its variables name to the proxy.
    pub(super) variable: Option<String>,
    /// The directory in which it starts.
    pub(super) cwd: Option<String>,
}

/// Whether it starts this program with `file` as its `--config`, be it through a shell, `env`,
/// `npx` or the like.
pub(super) fn is_itself(started: &Started, file: &Path, environment: &Environment) -> bool {
    let words: Vec<String> = started.words.iter().flat_map(|word| split(word)).collect();
    if !words.iter().any(|word| is_this_program(word, environment)) {
        return false;
    }
    let folder = started.cwd.as_deref().map(PathBuf::from).unwrap_or_default();
    let own = file.canonicalize().ok();
    let is_own = |path: &str| own.is_some() && folder.join(path).canonicalize().ok() == own;
    configs(&words).chain(started.variable.as_deref()).any(is_own)
}

/// The words that a shell would make of one that holds a command line of its own.
fn split(word: &str) -> Vec<String> {
    match shlex::split(word) {
        Some(words) if words.len() > 1 => words.iter().flat_map(|word| split(word)).collect(),
        _ => vec![word.to_owned()],
    }
}

/// What the words give as the configuration.
fn configs(words: &[String]) -> impl Iterator<Item = &str> {
    let behind = words.windows(2).filter(|pair| pair[0] == "--config").map(|pair| &*pair[1]);
    let joined = words.iter().filter_map(|word| {
        word.strip_prefix("--config=").or_else(|| word.strip_prefix("MCPULSE_PROXY_CONFIG="))
    });
    behind.chain(joined).map(|path| path.trim_end_matches(';'))
}

/// Whether the word is this program: by its name, or the file that it stands for.
fn is_this_program(word: &str, environment: &Environment) -> bool {
    let path = Path::new(word);
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    // A package may have its version behind an @.
    let name = name.split('@').next().unwrap_or_default();
    if name.strip_suffix(".exe").unwrap_or(name) == env!("CARGO_PKG_NAME") {
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
