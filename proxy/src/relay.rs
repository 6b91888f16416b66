//! Forwards bytes between a client and a server, and shows the tap what passes.

pub mod http;
pub mod stdio;
