"""A server written with the second line of the Python SDK, on any of its three transports:
`mcp2.py TRANSPORT [HOST [PORT]]`."""

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


# Port 0: the caller finds out which one it became.
transport, host, port = sys.argv[1:] + ["127.0.0.1", "0"][len(sys.argv) - 2 :]
server.run(transport, **({} if transport == "stdio" else {"host": host, "port": int(port)}))
