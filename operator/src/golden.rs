//! Files that are written by the code and committed.

use std::{env, fs, path::Path};

/// Compares such a file with what the code writes, or writes it anew.
pub(crate) fn committed(path: &str, told: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, told).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    let path = path.display();
    assert!(committed == told, "{path}: run UPDATE_GOLDEN=1 cargo test -p mcpulse-operator");
}
