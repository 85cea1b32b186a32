// The tasks extension (SEP-2663), of which the SDK has only the routing and the check of headers: the tools that go on after their
// call was answered, the three methods with which a client follows them, and the table of tasks.
//
// There is one table for the process, because in this era every request gets its own server.

import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';

import {
    acceptedContent,
    CLIENT_CAPABILITIES_META_KEY,
    fromJsonSchema,
    inputRequired,
    MissingRequiredClientCapabilityError,
    ProtocolError,
    ProtocolErrorCode,
} from '@modelcontextprotocol/server';

import { text } from './tools.mjs';

export const TASKS = 'io.modelcontextprotocol/tasks';

// The lifetime of a task. Longer than any scenario, shorter than a day of runs.
const TTL_MS = 300_000;
const POLL_MS = 100;
// The oldest task is removed when there are more.
const MAX_TASKS = 1000;

const TERMINAL = new Set(['completed', 'failed', 'cancelled']);
const NAME_FORM = { message: 'Say who you are', requestedSchema: { type: 'object', properties: { name: { type: 'string' } } } };

const question = (message) => ({
    method: 'elicitation/create',
    params: {
        mode: 'form',
        message,
        requestedSchema: {
            type: 'object',
            properties: { name: { type: 'string' }, confirm: { type: 'boolean' } },
            required: ['confirm'],
        },
    },
});

// A tool that becomes a task has `job(args, task)` for its work, and `needed` if it cannot be called in another way. The
// question that `first(ctx)` returns, if any, is asked before there is a task.
const JOBS = [
    {
        name: 'slow_compute',
        description: 'Takes its time',
        input: { type: 'object', properties: { seconds: { type: 'number', minimum: 0 }, label: { type: 'string' } } },
        async job({ seconds = 0, label = 'it' }, task) {
            await sleep(seconds * 1000, undefined, { signal: task.signal });
            return text(`${label} took ${seconds} s`);
        },
    },
    {
        name: 'failing_job',
        description: 'Works for a second, and fails',
        needed: true,
        async job(_args, task) {
            await sleep(1000, undefined, { signal: task.signal });
            return { ...text('it did not work out'), isError: true };
        },
    },
    {
        name: 'protocol_error_job',
        description: 'Breaks down',
        needed: true,
        async job() {
            throw new ProtocolError(ProtocolErrorCode.InternalError, 'broke down');
        },
    },
    {
        name: 'confirm_delete',
        description: 'Asks before it does anything, and then does nothing',
        input: { type: 'object', properties: { filename: { type: 'string' } } },
        needed: true,
        async job({ filename }, task) {
            const { confirm } = await task.ask({ confirm: question(`Delete ${filename}?`) });
            return text(confirm.action === 'accept' ? `${filename} would be gone` : `${filename} stays`);
        },
    },
    {
        name: 'multi_input',
        description: 'Asks two questions at once',
        needed: true,
        async job(_args, task) {
            const given = await task.ask({ first: question('One?'), second: question('Two?') });
            return text(`one: ${given.first.action}, two: ${given.second.action}`);
        },
    },
    {
        name: 'test_tool_with_task',
        description: 'Asks for a name, and becomes a task with the answer',
        needed: true,
        first(ctx) {
            return acceptedContent(ctx.mcpReq.inputResponses, 'user_name') ?? { user_name: inputRequired.elicit(NAME_FORM) };
        },
        async job(_args, _task, { name }) {
            return text(`the task was for ${name}`);
        },
    },
];

export const TASK_TOOLS = JOBS.map(({ name, description, input, first, job }) => ({
    name,
    description,
    input,
    async call(args, ctx) {
        const known = first?.(ctx) ?? {};
        if (known.user_name !== undefined) return inputRequired({ inputRequests: known });
        if (!declares(ctx)) return job(args, { signal: ctx.mcpReq.signal }, known);
        return { resultType: 'task', ...begin(job, args, known).summary() };
    },
}));

// Adds the methods of the extension to a server, and refuses calls of clients without it. To be called before any tool is
// registered, because the SDK turns everything that a tool throws into an answer.
export function serveTasks(server) {
    const needing = new Set(JOBS.filter((tool) => tool.needed).map((tool) => tool.name));
    const register = server.setRequestHandler.bind(server);
    server.setRequestHandler = (method, ...rest) => {
        if (method !== 'tools/call') return register(method, ...rest);
        const [call] = rest;
        return register(method, (request, ctx) => {
            if (needing.has(request.params.name)) refuseUnlessDeclared(ctx);
            return call(request, ctx);
        });
    };
    const params = fromJsonSchema({ type: 'object', properties: { taskId: { type: 'string' } }, required: ['taskId'] });
    const serve = (method, answer) =>
        register(method, { params }, (received, ctx) => {
            refuseUnlessDeclared(ctx);
            const task = BOOK.get(received.taskId);
            if (task === undefined) throw new ProtocolError(ProtocolErrorCode.InvalidParams, `no task ${received.taskId}`);
            return answer(task, received, ctx);
        });
    serve('tasks/get', (task) => task.detail());
    serve('tasks/update', (task, received, ctx) => {
        task.receive(ctx.mcpReq.inputResponses ?? received.inputResponses ?? {});
        return {};
    });
    serve('tasks/cancel', (task) => {
        task.cancel();
        return {};
    });
}

const declares = (ctx) => ctx.mcpReq.envelope?.[CLIENT_CAPABILITIES_META_KEY]?.extensions?.[TASKS] !== undefined;

function refuseUnlessDeclared(ctx) {
    if (declares(ctx)) return;
    throw new MissingRequiredClientCapabilityError({ requiredCapabilities: { extensions: { [TASKS]: {} } } });
}

const BOOK = new Map();

function begin(job, args, known) {
    const task = new Task();
    BOOK.set(task.id, task);
    if (BOOK.size > MAX_TASKS) BOOK.delete(BOOK.keys().next().value);
    setTimeout(() => BOOK.delete(task.id), TTL_MS).unref();
    job(args, task, known).then(
        (result) => task.settle('completed', { result }),
        ({ code, message }) => {
            const error = { code: Number.isInteger(code) ? code : ProtocolErrorCode.InternalError, message };
            task.settle('failed', { error });
        },
    );
    return task;
}

class Task {
    id = randomUUID();
    #created = new Date().toISOString();
    #updated = this.#created;
    #status = 'working';
    #outcome = {};
    #open = {};
    #given = {};
    #resume;
    #abort = new AbortController();

    get signal() {
        return this.#abort.signal;
    }

    summary() {
        return {
            taskId: this.id,
            status: this.#status,
            createdAt: this.#created,
            lastUpdatedAt: this.#updated,
            ttlMs: TTL_MS,
            pollIntervalMs: POLL_MS,
        };
    }

    detail() {
        return { ...this.summary(), ...this.#outcome, ...(this.#status === 'input_required' && { inputRequests: this.#open }) };
    }

    // Asks the client, and waits until every question has its answer.
    ask(questions) {
        this.#open = { ...questions };
        this.#given = {};
        this.#become('input_required');
        return new Promise((resolve) => {
            this.#resume = resolve;
        });
    }

    // Answers to unknown questions are ignored.
    receive(answers) {
        for (const [key, answer] of Object.entries(answers)) {
            if (!Object.hasOwn(this.#open, key)) continue;
            delete this.#open[key];
            this.#given[key] = answer;
        }
        if (this.#status !== 'input_required' || Object.keys(this.#open).length > 0) return;
        this.#become('working');
        this.#resume(this.#given);
    }

    cancel() {
        this.settle('cancelled', {});
        this.#abort.abort();
    }

    // The first end counts, and not a later one of a cancelled job.
    settle(status, outcome) {
        if (TERMINAL.has(this.#status)) return;
        this.#outcome = outcome;
        this.#become(status);
    }

    #become(status) {
        this.#status = status;
        this.#updated = new Date().toISOString();
    }
}
