//! The architecture, checked: dependencies point one way, and files stay small.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Longest file, in lines.
const LONGEST: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// Every Rust file below `directory`, but what cargo made.
fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                sources(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("reading {}: {e}", path.display()))
}

/// The modules of a `lib.rs`, in the order in which it lists them.
fn modules(lib: &str) -> Vec<&str> {
    let declared = lib
        .lines()
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'));
    declared.collect()
}

/// The top-level modules that a file names by `crate::`, in groups as well.
fn used(source: &str) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    for (at, matched) in source.match_indices("crate::") {
        let rest = &source[at + matched.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            names.insert(word(rest));
            continue;
        };
        let mut depth = 0;
        let mut starts = true;
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => starts = true,
                c if starts && c.is_alphabetic() => {
                    names.insert(word(&group[at..]));
                    starts = false;
                }
                _ => {}
            }
        }
    }
    names
}

fn word(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
}

/// Where a module of a crate uses one that `lib.rs` lists above it.
fn against_the_flow(of: &str) -> Vec<String> {
    let src = root().join(of).join("src");
    let lib = read(&src.join("lib.rs"));
    let modules = modules(&lib);
    assert!(modules.len() > 1, "{of}/src/lib.rs lists {modules:?}");
    let mut against = Vec::new();
    for (place, module) in modules.iter().enumerate() {
        let mut files = vec![src.join(format!("{module}.rs"))];
        let directory = src.join(module);
        if directory.is_dir() {
            sources(&directory, &mut files);
        }
        for file in files {
            let source = read(&file);
            let used = used(&source);
            let above = modules[..place].iter().filter(|above| used.contains(*above));
            against.extend(above.map(|above| format!("{} uses {above}", file.display())));
        }
    }
    against
}

#[test]
fn no_module_uses_one_listed_above_it() {
    let against = ["proxy", "proxy/shim", "operator"].map(against_the_flow).concat();
    assert!(against.is_empty(), "{against:#?}");
}

#[test]
fn no_file_is_longer_than_a_reader_can_hold() {
    let mut files = Vec::new();
    sources(&root(), &mut files);
    assert!(files.len() > 20, "{files:?}");
    let lines = files.iter().map(|file| (read(file).lines().count(), file));
    let long: Vec<_> = lines.filter(|(lines, _)| *lines > LONGEST).collect();
    assert!(long.is_empty(), "{long:#?}");
    let named: Vec<_> = files.iter().filter(|file| file.ends_with("mod.rs")).collect();
    assert!(named.is_empty(), "foo.rs, not foo/mod.rs: {named:?}");
}

#[test]
fn grouped_and_nested_uses_are_seen() {
    let source = "use crate::{a::{b, c}, d, e as f};\nfn g() -> crate::h::I { crate::j() }";
    assert_eq!(used(source), BTreeSet::from(["a", "d", "e", "h", "j"]));
}
