//! The relay between real sockets.

mod ending;
mod failing;
mod harness;
mod limits;
mod passing;
mod secrets;
mod streams;
mod turning;
mod versions;
