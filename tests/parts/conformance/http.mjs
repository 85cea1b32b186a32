// Both eras on one address: sessions with their streams for clients up to 2025-11-25, single requests for 2026-07-28. All
// checks that a faulty proxy would fail are the SDK's own (Host, Origin, headers, sessions).

import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';

import {
    localhostHostValidation,
    localhostOriginValidation,
    NodeStreamableHTTPServerTransport,
    toNodeHandler,
} from '@modelcontextprotocol/node';
import { classifyInboundRequest, createMcpHandler, isInitializeRequest, isJsonContentType } from '@modelcontextprotocol/server';

import { makeServer } from './server.mjs';
import { StreamLog } from './stream_log.mjs';

const PATH = '/mcp';
// More than any test sends; the SDK's own limit does not hold here, because the body is read before the SDK sees it.
const MAX_BODY_BYTES = 64 * 1024 * 1024;
// The oldest session ends when there are more: the suite does not always end its own.
const MAX_SESSIONS = 200;
// The wait of a client before it resumes a stream. Short, because scenarios do wait.
const RETRY_MS = 200;

const SESSION_LOST = { code: -32001, message: 'Session not found' };
const SESSION_MISSING = { code: -32000, message: 'Bad Request: no session, and not an initialize request' };
const NOT_JSON = { code: -32700, message: 'Parse error: the body is not JSON' };
const TOO_LARGE = { code: -32000, message: `Payload Too Large: more than ${MAX_BODY_BYTES} bytes` };

export function makeHttpServer() {
    const hostIsOurs = localhostHostValidation();
    const originIsOurs = localhostOriginValidation();
    const modern = modernEndpoint();
    const legacy = legacyEndpoint();
    const answer = async (req, res) => {
        if (!hostIsOurs(req, res) || !originIsOurs(req, res)) return;
        if (new URL(req.url, 'http://any').pathname !== PATH) {
            res.writeHead(404).end();
            return;
        }
        // The SDK refuses another type without reading the body.
        if (req.method === 'POST' && !isJsonContentType(req.headers['content-type'])) {
            await modern(req, res);
            return;
        }
        const received = req.method === 'POST' ? await readJson(req) : {};
        if (received.refusal !== undefined) refuse(res, ...received.refusal);
        else if (isLegacy(req, received.body)) await legacy(req, res, received.body);
        else await modern(req, res, received.body);
    };
    return createServer((req, res) => {
        answer(req, res).catch((error) => {
            // Usually the client disconnected while it sent its body.
            console.error(error.message);
            res.destroy();
        });
    });
}

function isLegacy(req, body) {
    const outcome = classifyInboundRequest({
        httpMethod: req.method,
        protocolVersionHeader: req.headers['mcp-protocol-version'],
        mcpMethodHeader: req.headers['mcp-method'],
        mcpNameHeader: req.headers['mcp-name'],
        body,
    });
    return outcome.kind === 'legacy';
}

function modernEndpoint() {
    const changes = {
        tools: () => handler.notify.toolsChanged(),
        prompts: () => handler.notify.promptsChanged(),
        resource: (uri) => handler.notify.resourceUpdated(uri),
    };
    const handler = createMcpHandler(() => makeServer('modern', changes), { legacy: 'reject' });
    return toNodeHandler(handler);
}

function legacyEndpoint() {
    const sessions = new Map();

    async function begin() {
        const log = new StreamLog();
        const transport = new NodeStreamableHTTPServerTransport({
            sessionIdGenerator: randomUUID,
            eventStore: log,
            retryInterval: RETRY_MS,
            onsessioninitialized: (id) => {
                sessions.set(id, transport);
                if (sessions.size > MAX_SESSIONS) sessions.values().next().value.close();
            },
        });
        const mcp = makeServer('legacy');
        await mcp.connect(transport);
        mcp.server.onclose = () => sessions.delete(transport.sessionId);
        return transport;
    }

    return async (req, res, body) => {
        const id = req.headers['mcp-session-id'];
        if (id !== undefined) {
            const transport = sessions.get(id);
            if (transport === undefined) refuse(res, 404, SESSION_LOST);
            else await transport.handleRequest(req, res, body);
        } else if (isInitializeRequest(body)) {
            const transport = await begin();
            await transport.handleRequest(req, res, body);
        } else {
            refuse(res, 400, SESSION_MISSING);
        }
    };
}

async function readJson(req) {
    const chunks = [];
    let length = 0;
    for await (const chunk of req) {
        length += chunk.length;
        if (length > MAX_BODY_BYTES) return { refusal: [413, TOO_LARGE] };
        chunks.push(chunk);
    }
    try {
        return { body: JSON.parse(Buffer.concat(chunks).toString()) };
    } catch {
        return { refusal: [400, NOT_JSON] };
    }
}

function refuse(res, status, error) {
    res.writeHead(status, { 'Content-Type': 'application/json' });
    res.end(JSON.stringify({ jsonrpc: '2.0', error, id: null }));
}
