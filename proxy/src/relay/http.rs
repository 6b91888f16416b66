//! Forwards HTTP exchanges between clients and a remote server.

pub mod endpoint;
pub mod guard;
pub mod origin;
pub mod refusal;
pub mod rewrite;
