//! The process with number 1 in the container of an MCP server that speaks on standard streams:
//! it starts the server anew for each session that the sidecar of the pod opens on a socket, and
//! lets the session live on while the sidecar is started anew.
//!
//! One thread does everything but writing the log. The modules are in the order in which they
//! use one another: each uses those below it, and none above. Elsewhere than on Linux, where no
//! container is, there is only what is said on the socket, which the sidecar's side uses.

#[cfg(target_os = "linux")]
pub mod supervisor;

#[cfg(target_os = "linux")]
mod gate;
#[cfg(target_os = "linux")]
mod session;

#[cfg(target_os = "linux")]
mod connection;
#[cfg(target_os = "linux")]
mod ending;
#[cfg(target_os = "linux")]
mod flow;

#[cfg(target_os = "linux")]
mod journal;
#[cfg(target_os = "linux")]
mod program;
#[cfg(target_os = "linux")]
mod strays;

#[cfg(target_os = "linux")]
mod listener;
#[cfg(target_os = "linux")]
mod signals;

pub mod protocol;

#[cfg(target_os = "linux")]
pub mod arguments;
