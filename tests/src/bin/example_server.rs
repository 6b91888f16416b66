//! A small MCP server on standard input and output, written with the official Rust SDK.

use std::time::Duration;

use rmcp::{
    ErrorData, ServerHandler, ServiceExt,
    handler::server::wrapper::Parameters,
    model::{CallToolResult, ContentBlock},
    schemars, tool, tool_handler, tool_router,
    transport::stdio,
};
use serde::Deserialize;

#[derive(Debug)]
struct Example;

#[derive(Debug, Deserialize, schemars::JsonSchema)]
struct Echo {
    /// What to say.
    message: String,
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
struct Slow {
    /// How long to take.
    milliseconds: u64,
}

#[tool_router]
impl Example {
    #[tool(description = "Says what it is told")]
    fn echo(Parameters(echo): Parameters<Echo>) -> String {
        echo.message
    }

    #[tool(description = "Takes its time")]
    async fn slow(Parameters(slow): Parameters<Slow>) -> String {
        tokio::time::sleep(Duration::from_millis(slow.milliseconds)).await;
        format!("took {} ms", slow.milliseconds)
    }

    #[tool(description = "Says that it failed")]
    fn fail() -> CallToolResult {
        CallToolResult::error(vec![ContentBlock::text("as asked")])
    }

    #[tool(description = "Breaks, which is no result at all")]
    fn break_down() -> Result<CallToolResult, ErrorData> {
        Err(ErrorData::internal_error("as asked", None))
    }
}

#[tool_handler(router = Self::tool_router())]
impl ServerHandler for Example {}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    Example.serve(stdio()).await?.waiting().await?;
    Ok(())
}
