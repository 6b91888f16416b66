//! The relay between real sockets.

mod ending;
mod failing;
mod harness;
mod passing;
