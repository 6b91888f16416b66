//! Remote servers for clients on standard input and output: what a real server does too seldom.

use mcpulse_tests::pair::PATIENCE;

mod fallback;
mod faults;
mod healing;
mod http2;
pub(crate) mod legacy;
mod order;
mod proxies;
mod records;
mod rules;
pub(crate) mod script;
mod strays;
mod streams;
