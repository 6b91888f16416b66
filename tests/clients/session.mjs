// What both npm clients do once they have a class of client and a transport; README.md says
// how they are told what.
import { text } from "node:stream/consumers";

// What the server may ask of a client.
export const capabilities = { sampling: {}, elicitation: {}, roots: {} };
export const answers = {
  "sampling/createMessage": async () => ({
    role: "assistant",
    content: { type: "text", text: "sampled" },
    model: "none",
  }),
  "elicitation/create": async () => ({ action: "decline" }),
  "roots/list": async () => ({ roots: [] }),
};

// What the client hears beside answers; both scripts bring it here.
const heard = new Set();
let told = () => {};
export const hear = (what) => {
  heard.add(what);
  told();
};
export const notifications = {
  "notifications/message": () => hear("log"),
  "notifications/resources/updated": () => hear("updated"),
};

// Resolves once all of this was heard.
const until = (all) =>
  new Promise((resolve) => {
    told = () => all.every((what) => heard.has(what)) && resolve();
    told();
  });

// The two lines of the SDK take the options in different places: each script brings `callTool`.
async function call(client, { name, arguments: args, cancel_after: after }, callTool) {
  const signal = after === undefined ? undefined : AbortSignal.timeout(after);
  try {
    const result = await callTool(client, { name, arguments: args }, {
      signal,
      onprogress: () => hear("progress"),
    });
    return { [result.isError ? "tool_error" : "ok"]: result.content };
  } catch (error) {
    if (signal?.aborted) return { cancelled: name };
    if (typeof error.code !== "number") throw error;
    return { rpc_error: error.code, text: error.message };
  }
}

export async function hold(client, transport, plan, callTool) {
  await client.connect(transport);
  const tools = (await client.listTools()).tools.map((tool) => tool.name);
  if (plan.hears.includes("log")) await client.setLoggingLevel("debug");
  if (plan.resource) await client.subscribeResource({ uri: plan.resource });
  const calls = [];
  for (const each of plan.calls) calls.push(await call(client, each, callTool));
  await until(plan.hears);
  console.log(JSON.stringify({ tools, calls, heard: plan.hears }));
  await text(process.stdin);
  // The legacy HTTP transport ends its session by DELETE only when told so.
  await transport.terminateSession?.();
  await client.close();
}
