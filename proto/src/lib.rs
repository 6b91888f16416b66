//! The gRPC API of MCPulse, package `mcpulse.v1`.
