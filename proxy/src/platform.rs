//! What only one operating system has, behind one face: the process's own standard streams,
//! the signals that ask it to end, and the ways to end a child. Nothing here knows of MCP.

#[cfg(any(target_os = "android", target_os = "linux"))]
mod linux;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub use unix::{Process, Wait, exit_code, spawn, stop_signal, take_stdio};
#[cfg(windows)]
pub use windows::{Process, Wait, exit_code, spawn, stop_signal, take_stdio};
