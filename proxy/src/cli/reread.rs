//! Reads the file of `run` again, under the flags and variables with which the process began.

use std::{ffi::OsString, path::PathBuf};

use super::{Environment, Request, read};
use crate::config::{Config, Problem, problem::Refusal};

/// How to read a configuration again.
#[derive(Clone, Debug, PartialEq)]
pub struct Reread {
    /// The file, which may be a symlink that is made to lead elsewhere.
    pub path: PathBuf,
    arguments: Vec<OsString>,
    environment: Environment,
}

impl Reread {
    pub(super) fn new(
        path: impl Into<PathBuf>,
        arguments: Vec<OsString>,
        environment: &Environment,
    ) -> Self {
        Self { path: path.into(), arguments, environment: environment.clone() }
    }

    /// What holds now.
    ///
    /// # Errors
    /// Every problem that there is.
    pub fn config(&self) -> Result<Config, Refusal> {
        match read(self.arguments.iter().cloned(), &self.environment)? {
            Request::Serve(start) | Request::Check(start) => Ok(*start.config),
            Request::Drain(config) => Ok(*config),
            Request::Show(_) => Err(Problem::usage("there is nothing to serve").into()),
        }
    }
}
