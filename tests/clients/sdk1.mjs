// Holds one session with the first line of the npm SDK.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { SSEClientTransport } from "@modelcontextprotocol/sdk/client/sse.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { hold } from "./session.mjs";

function connect({ command, http, sse }) {
  if (http) return new StreamableHTTPClientTransport(new URL(http));
  if (sse) return new SSEClientTransport(new URL(sse));
  return new StdioClientTransport({ command: command[0], args: command.slice(1), env: process.env });
}

const plan = JSON.parse(process.argv[2]);
await hold(new Client({ name: "sdk1", version: "1.32.2" }), connect(plan), plan);
