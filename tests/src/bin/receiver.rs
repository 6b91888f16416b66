//! A small MCPulse for a pod: `receiver ADDRESS` tells each tool call that it is told, as a line of
//! JSON on standard output.
#![expect(clippy::print_stdout, reason = "that is where it tells them")]

use std::{env, net::SocketAddr, time::Duration};

use anyhow::Context as _;
use mcpulse_tests::Receiver;
use serde_json::json;
use tokio::{
    signal::unix::{SignalKind, signal},
    time,
};

/// Between two looks at what came.
const PAUSE: Duration = Duration::from_millis(20);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let address = env::args().nth(1).context("usage: receiver ADDRESS")?;
    let address: SocketAddr = address.parse().context(address)?;
    let receiver = Receiver::start_at(address).await;
    let mut told = 0;
    let telling = async {
        loop {
            for batch in receiver.batches().split_off(told) {
                told += 1;
                for call in batch.metrics {
                    println!(
                        "{}",
                        json!({
                            "api_key": batch.api_key,
                            "id": call.id,
                            "server": call.server_id,
                            "session": call.session_id,
                            "tool": call.tool_name,
                            "status": call.status().as_str_name(),
                            "error_type": call.error_type,
                            "client": call.client_name,
                        })
                    );
                }
            }
            time::sleep(PAUSE).await;
        }
    };
    let mut end = signal(SignalKind::terminate())?;
    tokio::select! {
        () = telling => {}
        _ = end.recv() => {}
    }
    Ok(())
}
