//! Carries messages between a client and a server, and shows the tap what passes: as bytes where
//! both speak the same transport, over a bridge where they do not.

pub mod bridge;
mod child;
mod ending;
pub mod http;
mod mirrored;
pub mod remote;
pub mod router;
pub mod site;
pub mod stdio;
