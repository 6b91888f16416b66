"""Holds one session with the first line of the Python SDK; README.md says how it is told what."""

import json
import os
import sys

import anyio
from mcp import ClientSession, McpError, StdioServerParameters, types
from mcp.client.sse import sse_client
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

from session import ANSWERS, hold


def connect(plan):
    if "http" in plan:
        return streamable_http_client(plan["http"])
    if "sse" in plan:
        return sse_client(plan["sse"])
    command, *args = plan["command"]
    return stdio_client(StdioServerParameters(command=command, args=args, env=dict(os.environ)))


async def main():
    plan = json.loads(sys.argv[1])
    info = types.Implementation(name="mcp1", version="1.30.0")
    try:
        async with connect(plan) as (read, write, *_):
            async with ClientSession(read, write, client_info=info, **ANSWERS) as session:
                await session.initialize()
                await hold(session, plan, McpError)
    except* anyio.BrokenResourceError:
        # So this line of the SDK ends when a message comes while it closes.
        pass


anyio.run(main)
