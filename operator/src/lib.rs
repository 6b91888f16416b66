//! Puts `mcpulse-proxy` beside MCP servers in Kubernetes, by `McpServer` resources.
//!
//! A module may use those below it and none above, which `tests/e2e/layering.rs` enforces:
//!
//! - [`cli`] reads the command line and answers the commands that need no cluster.
//! - [`run`] composes the operator: what every replica does, and what only the one that leads.
//! - [`verify`] finds out whether pods come with the sidecar.
//! - [`controller`] brings clusters to what their `McpServer`s ask for, and says how far it is.
//! - [`lease`] decides which replica leads.
//! - [`registration`] has API servers ask the webhook about the pods that are meant.
//! - [`webhook`] answers them, where they cannot inject by themselves.
//! - [`certificate`] is what it shows.
//! - [`engine`] chooses between it and the policy, by trying a [`witness`].
//! - [`servers`] is what was last seen of the `McpServer`s.
//! - [`rbac`] has what the operator may do.
//! - [`owner`] finds what its objects end with.
//! - `answer` says why the API server did not do what it was asked.
//! - [`policy`] has API servers do what [`splice`] does.
//! - [`release`] has the names of its objects, and which namespaces are its own.
//! - [`splice`] puts an [`crd::Injection`] into a pod, or says why not.
//! - [`render`] turns a `McpServer` into the [`crd::Injection`] that it asks for.
//! - [`version`] has what the Kubernetes of a cluster can do.
//! - `quantity` reads amounts of resources.
//! - [`target`] resolves which pods a `McpServer` means.
//! - [`crd`] is the vocabulary: the resource, its status, what engines read of it.

pub mod cli;

pub mod run;

pub mod verify;

pub mod controller;

pub mod lease;

pub mod registration;

pub mod webhook;

pub mod certificate;

pub mod engine;

pub mod witness;

pub mod servers;

pub mod rbac;

pub mod owner;

mod answer;

pub mod policy;

pub mod release;

pub mod splice;

pub mod render;

pub mod version;

mod quantity;

pub mod target;

pub mod crd;

#[cfg(test)]
mod golden;
