//! Which servers a process serves: one, or a list of them.

use serde::{Deserialize, Serialize};

use super::Upstream;

/// The servers of a process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[expect(clippy::large_enum_variant, reason = "a process has one of these")]
pub enum Served {
    /// One, at the paths of the listener itself or on standard streams.
    One(Server),
    /// Those of a list, each below a path of its own, which is its id; also of a list of one, so
    /// that the next entry changes no URL.
    Several {
        /// The entries, at least one, whose ids differ.
        servers: Vec<Server>,
    },
}

/// A server that is observed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Server {
    /// The name under which MCPulse knows it.
    pub server_id: String,
    /// How it is reached.
    #[serde(with = "serde_yaml::with::singleton_map")]
    pub upstream: Upstream,
}

impl Served {
    /// All of them.
    pub fn all(&self) -> &[Server] {
        match self {
            Self::One(server) => std::slice::from_ref(server),
            Self::Several { servers } => servers,
        }
    }

    /// All of them, to be changed.
    pub fn all_mut(&mut self) -> &mut [Server] {
        match self {
            Self::One(server) => std::slice::from_mut(server),
            Self::Several { servers } => servers,
        }
    }

    /// What a name is made of that stands for all of them: the id of the only one.
    pub fn sole_id(&self) -> Option<&str> {
        match self {
            Self::One(server) => Some(&server.server_id),
            Self::Several { .. } => None,
        }
    }
}
