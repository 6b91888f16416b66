//! The whole of it in a real cluster: real servers in real pods, and clients that know nothing.
#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod changes;
mod clients;
mod cluster;
mod faults;
mod helm;
mod http;
mod install;
mod jobs;
mod node;
mod stdio;
mod workload;
