//! Reports tool calls to MCPulse over gRPC, in batches, for as long as it takes.
//!
//! Calls wait in the bounded queue of the sink, or on disk where a spool is configured, until
//! a batch takes them; a batch is settled call by call and never given up while the process
//! lives.

use std::{collections::BTreeMap, path::Path};

use crate::{config, shutdown::Shutdown};

mod address;
mod backlog;
mod batch;
mod client;
mod metric;
mod reporter;
mod spool;

pub use self::{address::AddressError, client::Error};
use self::{client::Client, metric::Convert, reporter::Reporter, spool::Spool};
use super::{Account, Exporter, queue::queue};

/// What helps when the queue is full.
const REMEDY: &str = "MCPulse is away or too slow; --spool-dir keeps calls on disk, \
                      --mcpulse-queue-calls and --mcpulse-queue-bytes more in memory";

/// Starts reporting, with what these `attributes` of the process say about its pod. Must be called
/// within a runtime.
///
/// # Errors
/// When the configuration cannot work: an unreadable address, file of authorities or key. A
/// MCPulse that is away is no error.
pub fn start(
    config: &config::Mcpulse,
    attributes: &BTreeMap<String, String>,
    account: Account,
    shutdown: Shutdown,
) -> Result<Exporter, Error> {
    let client = Client::new(config)?.within(attributes);
    let convert = Convert::new(config.capture);
    let bytes = usize::try_from(config.queue_bytes).unwrap_or(usize::MAX);
    let (offer, take) = queue(config.queue_calls.max(1), bytes, account.clone(), REMEDY);
    let reporter = Reporter::new(config, take, client, convert, account, shutdown);
    Ok(Exporter { offer, task: tokio::spawn(reporter.report()) })
}

/// Sends MCPulse a batch without a call in it, and says what came of it.
///
/// # Errors
/// Why MCPulse does not take it, with the remedy.
pub async fn check(config: &config::Mcpulse) -> Result<String, String> {
    let mut client = Client::new(config).map_err(|error| error.to_string())?;
    let address = client.address();
    match client.send(Vec::new()).await {
        Ok(_) => Ok(format!("{address} takes reports")),
        Err(failure) => Err(format!("{address} takes none: {}", failure.text)),
    }
}

/// Tries the folder of a spool, and leaves it as it was.
///
/// # Errors
/// Why no spool can be kept there, with the remedy.
pub fn check_spool(folder: &Path) -> Result<String, String> {
    let shown = folder.display();
    match Spool::check(folder) {
        Ok(()) => Ok(format!("{shown} can be written")),
        Err(error) => Err(format!("{shown} cannot be used: {error}; name another --spool-dir")),
    }
}
