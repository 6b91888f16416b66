//! Composes everything; it alone knows every part.

use std::process::ExitCode;

use crate::config::Config;

/// Runs the proxy until its client or server ends.
///
/// # Errors
/// When it cannot start.
pub async fn run(config: Config) -> anyhow::Result<ExitCode> {
    tracing::info!(server_id = config.server_id, "ready");
    std::future::ready(()).await;
    Ok(ExitCode::SUCCESS)
}
