"""Holds one session with the first line of the Python SDK; README.md says how it is told what."""

import json
import os
import sys

import anyio
from mcp import ClientSession, McpError, StdioServerParameters, types
from mcp.client.sse import sse_client
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client


def connect(plan):
    if "http" in plan:
        return streamable_http_client(plan["http"])
    if "sse" in plan:
        return sse_client(plan["sse"])
    command, *args = plan["command"]
    return stdio_client(StdioServerParameters(command=command, args=args, env=dict(os.environ)))


async def sample(context, params):
    content = types.TextContent(type="text", text="sampled")
    return types.CreateMessageResult(role="assistant", content=content, model="none")


async def elicit(context, params):
    return types.ElicitResult(action="decline")


async def list_roots(context):
    return types.ListRootsResult(roots=[])


async def call(session, name, arguments):
    try:
        result = await session.call_tool(name, arguments)
    except McpError as error:
        return {"rpc_error": error.error.code, "text": error.error.message}
    content = [block.model_dump(mode="json", exclude_none=True) for block in result.content]
    return {"tool_error" if result.isError else "ok": content}


async def hold(plan):
    info = types.Implementation(name="mcp1", version="1.30.0")
    async with connect(plan) as (read, write, *_):
        session = ClientSession(
            read,
            write,
            client_info=info,
            sampling_callback=sample,
            elicitation_callback=elicit,
            list_roots_callback=list_roots,
        )
        async with session:
            await session.initialize()
            tools = [tool.name for tool in (await session.list_tools()).tools]
            calls = [await call(session, c["name"], c["arguments"]) for c in plan["calls"]]
            print(json.dumps({"tools": tools, "calls": calls}), flush=True)
            await anyio.to_thread.run_sync(sys.stdin.read)


async def main():
    try:
        await hold(json.loads(sys.argv[1]))
    except* anyio.BrokenResourceError:
        # So this line of the SDK ends when a message comes while it closes.
        pass


anyio.run(main)
