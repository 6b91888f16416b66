// Holds one session with the first line of the npm SDK.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { SSEClientTransport } from "@modelcontextprotocol/sdk/client/sse.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
  LoggingMessageNotificationSchema,
  ResourceUpdatedNotificationSchema,
} from "@modelcontextprotocol/sdk/types.js";
import { answers, capabilities, hold, notifications } from "./session.mjs";

function connect({ command, http, sse }) {
  if (http) return new StreamableHTTPClientTransport(new URL(http));
  if (sse) return new SSEClientTransport(new URL(sse));
  return new StdioClientTransport({ command: command[0], args: command.slice(1), env: process.env });
}

const plan = JSON.parse(process.argv[2]);
const client = new Client({ name: "sdk1", version: "1.32.2" }, { capabilities });
for (const schema of [CreateMessageRequestSchema, ElicitRequestSchema, ListRootsRequestSchema]) {
  client.setRequestHandler(schema, answers[schema.shape.method.value]);
}
for (const schema of [LoggingMessageNotificationSchema, ResourceUpdatedNotificationSchema]) {
  client.setNotificationHandler(schema, notifications[schema.shape.method.value]);
}
await hold(client, connect(plan), plan, (client, params, options) =>
  client.callTool(params, undefined, options),
);
