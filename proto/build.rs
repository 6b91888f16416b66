//! Compiles the protobuf files in Rust, so that no machine needs `protoc`.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;

const FILES: [&str; 3] =
    ["mcpulse/v1/analytics.proto", "mcpulse/v1/ingest.proto", "mcpulse/v1/query.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=mcpulse");
    let descriptors = protox::compile(FILES, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // `compile_fds` generates code only; reflection needs the descriptors as well.
    fs::write(out.join("mcpulse.v1.bin"), descriptors.encode_to_vec())?;
    // A server that only takes metrics in need not spell out the queries.
    tonic_prost_build::configure().generate_default_stubs(true).compile_fds(descriptors)?;
    Ok(())
}
