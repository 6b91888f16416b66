// Holds one session with the second line of the npm SDK.
import { Client, SSEClientTransport, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { answers, capabilities, hold, notifications } from "./session.mjs";

function connect({ command, http, sse }) {
  if (http) return new StreamableHTTPClientTransport(new URL(http));
  if (sse) return new SSEClientTransport(new URL(sse));
  return new StdioClientTransport({ command: command[0], args: command.slice(1), env: process.env });
}

const plan = JSON.parse(process.argv[2]);
const client = new Client({ name: "client2", version: "2.4.0" }, { capabilities });
for (const [method, answer] of Object.entries(answers)) client.setRequestHandler(method, answer);
for (const [method, heard] of Object.entries(notifications)) {
  client.setNotificationHandler(method, heard);
}
await hold(client, connect(plan), plan, (client, params, options) =>
  client.callTool(params, options),
);
