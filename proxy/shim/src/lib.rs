//! The process with number 1 in the container of an MCP server that speaks on standard streams:
//! it starts the server anew for each session that the sidecar of the pod opens on a socket, and
//! lets the session live on while the sidecar is started anew.
//!
//! One thread does everything but writing the log. The modules are in the order in which they
//! use one another: each uses those below it, and none above. Elsewhere than on Linux, where no
//! container is, there are none.
#![cfg(target_os = "linux")]

pub mod supervisor;

mod gate;
mod session;

mod connection;
mod ending;
mod flow;

mod journal;
mod program;
mod strays;

mod listener;
mod signals;

pub mod protocol;

pub mod arguments;
