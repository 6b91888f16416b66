// What both npm clients do once they have a class of client and a transport; README.md says
// how they are told what.
import { text } from "node:stream/consumers";

async function call(client, { name, arguments: args }) {
  try {
    const result = await client.callTool({ name, arguments: args });
    return { [result.isError ? "tool_error" : "ok"]: result.content };
  } catch (error) {
    if (typeof error.code !== "number") throw error;
    return { rpc_error: error.code, text: error.message };
  }
}

export async function hold(client, transport, plan) {
  await client.connect(transport);
  const tools = (await client.listTools()).tools.map((tool) => tool.name);
  const calls = [];
  for (const each of plan.calls) calls.push(await call(client, each));
  console.log(JSON.stringify({ tools, calls }));
  await text(process.stdin);
  // The legacy HTTP transport ends its session by DELETE only when told so.
  await transport.terminateSession?.();
  await client.close();
}
