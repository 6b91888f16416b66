"""Holds one session with the second line of the Python SDK; README.md says how it is told what."""

import json
import os
import sys

import anyio
from mcp import Client, MCPError, StdioServerParameters, types
from mcp.client.sse import sse_client


def server(plan):
    if "http" in plan:
        return plan["http"]
    if "sse" in plan:
        return sse_client(plan["sse"])
    command, *args = plan["command"]
    return StdioServerParameters(command=command, args=args, env=dict(os.environ))


async def sample(context, params):
    content = types.TextContent(type="text", text="sampled")
    return types.CreateMessageResult(role="assistant", content=content, model="none")


async def elicit(context, params):
    return types.ElicitResult(action="decline")


async def list_roots(context):
    return types.ListRootsResult(roots=[])


async def call(client, name, arguments):
    try:
        result = await client.call_tool(name, arguments)
    except MCPError as error:
        return {"rpc_error": error.error.code, "text": error.error.message}
    content = [block.model_dump(mode="json", exclude_none=True) for block in result.content]
    return {"tool_error" if result.is_error else "ok": content}


async def main():
    plan = json.loads(sys.argv[1])
    info = types.Implementation(name="mcp2", version="2.3.0")
    client = Client(
        server(plan),
        client_info=info,
        sampling_callback=sample,
        elicitation_callback=elicit,
        list_roots_callback=list_roots,
    )
    async with client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        calls = [await call(client, c["name"], c["arguments"]) for c in plan["calls"]]
        print(json.dumps({"tools": tools, "calls": calls}), flush=True)
        await anyio.to_thread.run_sync(sys.stdin.read)


anyio.run(main)
