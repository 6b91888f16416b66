"""A server written with the second line of the Python SDK, on any of its three transports."""

import sys

from mcp.server import MCPServer
from mcp.server.mcpserver import Context

server = MCPServer("mcp2", log_level="INFO")


@server.tool()
def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


@server.tool()
def fail(reason: str) -> str:
    """Fails for the reason given."""
    raise ValueError(reason)


@server.tool()
def repeat(text: str, count: int) -> str:
    """Says something several times."""
    return text * count


@server.tool()
async def count(to: int, context: Context) -> str:
    """Counts, and says how far it is."""
    for step in range(to):
        await context.report_progress(step, to)
    return f"counted to {to}"


transport = sys.argv[1]
# Port 0: the caller finds out which one it became.
server.run(transport, **({} if transport == "stdio" else {"host": "127.0.0.1", "port": 0}))
