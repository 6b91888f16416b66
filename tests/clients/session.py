"""What both Python clients do alike: answer a server that asks, and tell what their calls gave."""

import json
import sys

import anyio
from mcp import types


async def sample(context, params):
    content = types.TextContent(type="text", text="sampled")
    return types.CreateMessageResult(role="assistant", content=content, model="none")


async def elicit(context, params):
    return types.ElicitResult(action="decline")


async def list_roots(context):
    return types.ListRootsResult(roots=[])


ANSWERS = {
    "sampling_callback": sample,
    "elicitation_callback": elicit,
    "list_roots_callback": list_roots,
}


async def call(client, name, arguments, error_type):
    try:
        result = await client.call_tool(name, arguments)
    except error_type as error:
        return {"rpc_error": error.error.code, "text": error.error.message}
    said = result.model_dump(mode="json", exclude_none=True, by_alias=True)
    return {"tool_error" if said.get("isError") else "ok": said["content"]}


async def hold(client, calls, error_type):
    """Makes the calls, tells of them, and stays until standard input ends."""
    tools = [tool.name for tool in (await client.list_tools()).tools]
    calls = [await call(client, c["name"], c["arguments"], error_type) for c in calls]
    print(json.dumps({"tools": tools, "calls": calls}), flush=True)
    await anyio.to_thread.run_sync(sys.stdin.read)
