// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// A host on the official TypeScript SDK. A test drives it: each line of standard
// input is an operation in JSON, and each gets a line with its outcome.
//
//   node client.mjs v1|v2-legacy|v2 stdio COMMAND ARGUMENT...
//   node client.mjs v1|v2-legacy|v2 http URL
import { createInterface } from 'node:readline';

const [sdk, kind, target, ...args] = process.argv.slice(2);

async function load() {
  if (sdk === 'v1') {
    const { Client } = await import('@modelcontextprotocol/sdk/client/index.js');
    const { StdioClientTransport } = await import('@modelcontextprotocol/sdk/client/stdio.js');
    const { StreamableHTTPClientTransport } = await import('@modelcontextprotocol/sdk/client/streamableHttp.js');
    const { ElicitRequestSchema, ToolListChangedNotificationSchema } = await import('@modelcontextprotocol/sdk/types.js');
    return { Client, StdioClientTransport, StreamableHTTPClientTransport, elicit: ElicitRequestSchema, changed: ToolListChangedNotificationSchema, options: {} };
  }
  const { Client, StreamableHTTPClientTransport } = await import('@modelcontextprotocol/client');
  const { StdioClientTransport } = await import('@modelcontextprotocol/client/stdio');
  const mode = sdk === 'v2' ? { pin: '2026-07-28' } : 'legacy';
  return { Client, StdioClientTransport, StreamableHTTPClientTransport, elicit: 'elicitation/create', changed: 'notifications/tools/list_changed', options: { versionNegotiation: { mode } } };
}

const { Client, StdioClientTransport, StreamableHTTPClientTransport, elicit, changed, options } = await load();
const client = new Client({ name: 'host', version: '1' }, { capabilities: { elicitation: {} }, ...options });
client.setRequestHandler(elicit, () => ({ action: 'accept', content: { n: 3 } }));
let changes = 0;
client.setNotificationHandler(changed, () => { changes++; });
const errors = [];
client.onerror = e => errors.push(String(e));
const transport = kind === 'http'
  ? new StreamableHTTPClientTransport(new URL(target))
  : new StdioClientTransport({ command: target, args, env: process.env, stderr: 'inherit' });

function callTool(params, schema, opts) {
  return sdk === 'v1' ? client.callTool(params, undefined, opts) : client.callTool(params, opts);
}

const operations = {
  connect: () => client.connect(transport).then(() => ({ version: client.getNegotiatedProtocolVersion?.() ?? transport.protocolVersion ?? '' })),
  list: () => client.listTools(),
  call: async ({ name, args }) => callTool({ name, arguments: args }),
  progress: async ({ name }) => {
    const seen = [];
    let told;
    const result = await callTool({ name, arguments: {} }, undefined, { onprogress: p => {
      if (seen.push(p.progress) === 3) {
        told = callTool({ name: 'echo', arguments: { text: 'seen' } }); // the server waits for it
      }
    } });
    await told;
    return { ...result, seen };
  },
  cancel: async ({ name, after }) => {
    const abort = new AbortController();
    setTimeout(() => abort.abort('enough'), after);
    return callTool({ name, arguments: {} }, undefined, { signal: abort.signal });
  },
  many: async ({ name, n, args }) => {
    const all = await Promise.all(Array.from({ length: n }, (_, i) => callTool({ name, arguments: { ...args, text: String(i) } })));
    return { texts: all.map(r => r.content[0].text), failed: all.filter(r => r.isError).length };
  },
  state: async () => ({ changes, errors }),
  close: () => client.close().then(() => ({})),
};

for await (const line of createInterface({ input: process.stdin })) {
  const op = JSON.parse(line);
  let out;
  try {
    out = { ok: await operations[op.op](op) };
  } catch (e) {
    out = { error: { message: String(e?.message ?? e), code: e?.code, data: e?.data } };
  }
  process.stdout.write(JSON.stringify(out) + '\n');
}
process.exit(0);
