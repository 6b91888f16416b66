//! The shim with real programs, and with what sidecars do and suffer.
#![cfg(target_os = "linux")]
#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod harness;
mod sidecar;

mod bytes;
mod ends;
mod errors;
mod first_process;
mod limits;
mod resumes;
mod stops;
