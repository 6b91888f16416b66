"""Holds one session with the second line of the Python SDK; README.md says how it is told what."""

import json
import os
import sys

import anyio
from mcp import Client, MCPError, StdioServerParameters, types
from mcp.client.sse import sse_client

from session import ANSWERS, hold


def server(plan):
    if "http" in plan:
        return plan["http"]
    if "sse" in plan:
        return sse_client(plan["sse"])
    command, *args = plan["command"]
    return StdioServerParameters(command=command, args=args, env=dict(os.environ))


async def main():
    plan = json.loads(sys.argv[1])
    info = types.Implementation(name="mcp2", version="2.3.0")
    async with Client(server(plan), client_info=info, **ANSWERS) as client:
        await hold(client, plan, MCPError)


anyio.run(main)
