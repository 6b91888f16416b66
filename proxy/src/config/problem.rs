//! What stands in the way of a start, in words that say what to write instead.

use std::{fmt, process::ExitCode};

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Whether the command line alone is at fault; see [`Refusal::exit_code`].
    pub usage: bool,
    /// Which setting, what is wrong, what would be right. Never a secret.
    pub text: String,
}

impl Problem {
    /// The command line cannot be meant.
    pub fn usage(text: impl Into<String>) -> Self {
        Self { usage: true, text: text.into() }
    }

    /// What flags, variables and files say together cannot work.
    pub fn configuration(text: impl Into<String>) -> Self {
        Self { usage: false, text: text.into() }
    }
}

/// Why the proxy does not start: every problem at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(Vec<Problem>);

impl Refusal {
    /// The usage and configuration errors of `sysexits.h`.
    const USAGE: u8 = 64;
    const CONFIGURATION: u8 = 78;

    /// Each of them.
    pub fn problems(&self) -> &[Problem] {
        &self.0
    }

    /// 64 when the command line itself is at fault, else 78.
    pub fn exit_code(&self) -> ExitCode {
        let usage = self.0.iter().any(|problem| problem.usage);
        ExitCode::from(if usage { Self::USAGE } else { Self::CONFIGURATION })
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl From<Vec<Problem>> for Refusal {
    fn from(problems: Vec<Problem>) -> Self {
        Self(problems)
    }
}

impl std::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [problem] = self.0.as_slice() {
            return f.write_str(&problem.text);
        }
        write!(f, "{} problems:", self.0.len())?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  - {}", problem.text))
    }
}
