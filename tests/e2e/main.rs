//! The end-to-end tests: the real binary between real clients and real servers.
#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod bridge;
mod check;
mod cli;
mod conformance;
mod demo;
mod faults;
mod http;
mod layering;
mod many;
mod mcpulse;
mod pod;
mod proto;
mod readme;
mod real;
mod remote;
mod reporting;
mod stdio;
mod web;
