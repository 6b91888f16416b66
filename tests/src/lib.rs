//! The harness of the end-to-end tests: the real proxy, and everything around it that a test
//! needs to see what it did.
//!
//! - [`Proxy`] runs the binary under test.
//! - [`Receiver`] is a small MCPulse, [`Collector`] a small OpenTelemetry collector.
//! - [`Scrape`] reads `/metrics`.
//! - [`Tools`] are the real programs that hold sessions with it.
//! - [`eventually`] waits for a condition; nothing here sleeps for a guessed time.
#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::panic,
    reason = "a test fails by panicking"
)]

pub mod collector;
pub mod mood;
pub mod patience;
pub mod program;
pub mod proxy;
pub mod receiver;
pub mod scrape;
mod served;
pub mod tools;

pub use collector::Collector;
pub use mood::Mood;
pub use patience::eventually;
pub use program::program;
pub use proxy::Proxy;
pub use receiver::Receiver;
pub use scrape::Scrape;
pub use tools::Tools;
