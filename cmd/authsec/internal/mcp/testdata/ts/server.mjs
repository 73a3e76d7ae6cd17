// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// An MCP server on the official TypeScript SDK, on a loopback port that it prints.
//
//   node server.mjs v1|v2
import { createServer } from 'node:http';
import { randomUUID } from 'node:crypto';
import { z } from 'zod';

const sdk = process.argv[2];

let seen = () => {}; // the host has seen all progress

// register gives a server the tools. api hides where the SDK's versions differ.
function register(server, api) {
  const reply = text => ({ content: [{ type: 'text', text }] });
  server.registerTool('echo', { description: 'Echo', inputSchema: api.shape({ text: z.string() }) }, async ({ text }) => {
    if (text === 'seen') {
      seen();
    }
    return reply(text);
  });
  server.registerTool('progress', { description: 'Progress', inputSchema: api.shape({}) }, async (_, ctx) => {
    const { token, notify } = api.progress(ctx);
    const host = new Promise(resolve => { seen = resolve; });
    for (let i = 1; i <= 3; i++) {
      await notify({ method: 'notifications/progress', params: { progressToken: token, progress: i } });
    }
    await host; // clients forget their handler at the response, also if they read both together
    return reply('done');
  });
  server.registerTool('wait', { description: 'Wait', inputSchema: api.shape({}) }, async (_, ctx) => new Promise(resolve => {
    const signal = api.signal(ctx);
    process.stdout.write('started\n');
    signal.addEventListener('abort', () => {
      process.stdout.write('stopped\n');
      resolve(reply('stopped'));
    });
  }));
  server.registerTool('ask', { description: 'Ask', inputSchema: api.shape({}) }, async (_, ctx) => api.ask(server, ctx));
  return server;
}

const question = { message: 'How many?', requestedSchema: { type: 'object', properties: { n: { type: 'integer' } } } };

async function v1() {
  const { McpServer } = await import('@modelcontextprotocol/sdk/server/mcp.js');
  const { StreamableHTTPServerTransport } = await import('@modelcontextprotocol/sdk/server/streamableHttp.js');
  const sessions = new Map();
  const api = {
    shape: s => s,
    progress: extra => ({ token: extra._meta.progressToken, notify: extra.sendNotification }),
    signal: extra => extra.signal,
    ask: async server => {
      const answer = await server.server.elicitInput(question);
      return { content: [{ type: 'text', text: answer.action + answer.content.n }] };
    },
  };
  return async (req, res) => {
    let transport = sessions.get(req.headers['mcp-session-id']);
    if (req.headers['mcp-session-id'] && !transport) {
      res.writeHead(404, { 'content-type': 'application/json' }).end('{"jsonrpc":"2.0","error":{"code":-32001,"message":"Session not found"},"id":null}');
      return;
    }
    if (!transport) {
      const server = register(new McpServer({ name: 'billing', version: '1' }), api);
      transport = new StreamableHTTPServerTransport({
        sessionIdGenerator: randomUUID,
        onsessioninitialized: id => {
          sessions.set(id, transport);
          process.stdout.write('session\n');
          setTimeout(() => server.sendToolListChanged(), 500);
        },
        onsessionclosed: id => {
          sessions.delete(id);
          process.stdout.write('deleted\n');
        },
      });
      await server.connect(transport);
    }
    await transport.handleRequest(req, res);
  };
}

async function v2() {
  const { McpServer, createMcpHandler, inputRequired, acceptedContent } = await import('@modelcontextprotocol/server');
  const { toNodeHandler } = await import('@modelcontextprotocol/node');
  const api = {
    shape: s => z.object(s),
    progress: ctx => ({ token: ctx.mcpReq._meta.progressToken, notify: ctx.mcpReq.notify }),
    signal: ctx => ctx.mcpReq.signal,
    ask: async (_, ctx) => {
      const answer = acceptedContent(ctx.mcpReq.inputResponses, 'q');
      if (!answer) {
        return inputRequired({ inputRequests: { q: inputRequired.elicit(question) } });
      }
      return { content: [{ type: 'text', text: 'accept' + answer.n }] };
    },
  };
  return toNodeHandler(createMcpHandler(() => register(new McpServer({ name: 'billing', version: '1' }), api)));
}

const handler = await (sdk === 'v1' ? v1() : v2());
const http = createServer((req, res) => {
  Promise.resolve(handler(req, res)).catch(e => {
    process.stderr.write(`${e}\n`);
    res.destroy();
  });
});
http.listen(0, '127.0.0.1', () => process.stdout.write(`http://127.0.0.1:${http.address().port}/mcp\n`));
process.stdin.resume().on('end', () => process.exit(0));
