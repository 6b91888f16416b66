//! The harness of the end-to-end tests: the real proxy, and everything around it that a test
//! needs to see what it did.
//!
//! - [`Proxy`] runs the binary under test.
//! - [`Receiver`] is a small MCPulse, [`Collector`] a small OpenTelemetry collector.
//! - [`ForwardProxy`] stands between it and the world, [`Identity`] is what a server shows over
//!   TLS.
//! - [`Scrape`] reads `/metrics`.
//! - [`Client`] and [`Server`] are the real programs that hold sessions through it, installed as
//!   [`Tools`]; [`record`] keeps both sides of a session.
//! - [`pair`] has a client and a server meet through the proxy.
//! - [`ControlPlane`] is a real Kubernetes API server, with etcd and, if wanted, controllers.
//! - [`Node`] adds to one of these all that runs pods, in namespaces of Linux of its own.
//! - [`eventually`] waits for a condition; nothing here sleeps for a guessed time.
#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::panic,
    reason = "a test fails by panicking"
)]

pub mod client;
pub mod collector;
pub mod control_plane;
mod daemon;
pub mod forward;
pub mod identity;
pub mod mood;
pub mod node;
pub mod pair;
pub mod patience;
pub mod program;
pub mod proxy;
pub mod receiver;
pub mod record;
pub mod remote;
pub mod scrape;
mod served;
pub mod server;
pub mod tools;

pub use client::Client;
pub use collector::Collector;
pub use control_plane::ControlPlane;
pub use forward::ForwardProxy;
pub use identity::Identity;
pub use mood::Mood;
pub use node::Node;
pub use patience::eventually;
pub use program::program;
pub use proxy::Proxy;
pub use receiver::Receiver;
pub use scrape::Scrape;
pub use server::Server;
pub use tools::Tools;
