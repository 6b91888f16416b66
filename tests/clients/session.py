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


class Heard:
    """What the client hears beside answers."""

    def __init__(self):
        self.all = set()
        self.news = None

    def add(self, what):
        self.all.add(what)
        if self.news:
            self.news.set()

    async def until(self, wanted):
        while not self.all.issuperset(wanted):
            self.news = anyio.Event()
            await self.news.wait()


HEARD = Heard()


async def log(params):
    HEARD.add("log")


async def progress(progress, total, message):
    HEARD.add("progress")


async def message(message):
    # The first line of the SDK wraps what the second gives as it is.
    message = getattr(message, "root", message)
    if isinstance(message, types.ResourceUpdatedNotification):
        HEARD.add("updated")


ANSWERS = {
    "sampling_callback": sample,
    "elicitation_callback": elicit,
    "list_roots_callback": list_roots,
    "logging_callback": log,
    "message_handler": message,
}


async def call(client, name, arguments, error_type):
    try:
        result = await client.call_tool(name, arguments, progress_callback=progress)
    except error_type as error:
        return {"rpc_error": error.error.code, "text": error.error.message}
    said = result.model_dump(mode="json", exclude_none=True, by_alias=True)
    return {"tool_error" if said.get("isError") else "ok": said["content"]}


async def hold(client, plan, error_type):
    """Makes the calls, tells of them, and stays until standard input ends."""
    tools = [tool.name for tool in (await client.list_tools()).tools]
    hears, resource = plan["hears"], plan.get("resource")
    if getattr(client, "protocol_version", "") >= "2026-07-28":
        # There is no asking for the log, and no subscribing to a resource alone.
        hears, resource = [what for what in hears if what == "progress"], None
    if "log" in hears:
        await client.set_logging_level("debug")
    if resource:
        await client.subscribe_resource(resource)
    calls = [await call(client, c["name"], c["arguments"], error_type) for c in plan["calls"]]
    await HEARD.until(hears)
    print(json.dumps({"tools": tools, "calls": calls, "heard": hears}), flush=True)
    await anyio.to_thread.run_sync(sys.stdin.read)
