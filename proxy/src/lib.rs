//! A byte-transparent proxy for MCP servers that reports every tool call.
//!
//! Bytes flow through `relay`; what they say flows down this list. A module may use those
//! below it and none above, which `tests/e2e/layering.rs` enforces:
//!
//! - [`app`] composes everything; it alone knows every part.
//! - [`cli`] turns flags, variables and files into the one [`config::Config`].
//! - [`check`] says whether a proxy would work, by being its client.
//! - [`admin`] answers `/metrics`, `/healthz` and `/readyz`.
//! - [`relay`] moves bytes between a client and a server and shows the tap a cheap copy.
//! - [`tap`] is the one bounded queue between forwarding and observing.
//! - [`observe`] turns observed bytes into [`record::Call`]s.
//! - [`sink`] delivers calls: Prometheus, MCPulse, OpenTelemetry, a log.
//! - [`record`] holds the only types that sinks see.
//! - [`traffic`] is the vocabulary in which relays describe what they saw.
//! - [`jsonrpc`], [`scan`], [`mcp`], [`lines`] and [`sse`] read what is on the wire.
//! - [`tls`] reads certificates; it knows only the configuration.
//! - [`telemetry`] starts the program's own log.
//! - [`backoff`], [`bind`], [`config`], [`ready`], [`shutdown`] and [`trouble`] know none of the
//!   parts above.
//! - [`platform`] has what differs between operating systems.

pub mod app;
pub mod cli;

pub mod check;

pub mod admin;

pub mod relay;
pub mod tap;

pub mod observe;

pub mod sink;

pub mod record;
pub mod traffic;

pub mod jsonrpc;
pub mod scan;

pub mod mcp;

pub mod lines;
pub mod sse;

pub mod tls;

pub mod telemetry;

pub mod backoff;
pub mod bind;
pub mod config;
pub mod ready;
pub mod shutdown;
pub mod trouble;

pub mod platform;
