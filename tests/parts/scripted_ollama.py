"""An Ollama whose answers are scripted: `scripted_ollama.py [option=value …]`.

Options: `slots` (2), `load_ms` (0) until a model is loaded, `name` (scripted) before the models of the kind that answers,
`port` (any free one). When it accepts requests, it prints `ready <port>`; it ends with its standard input.

It answers as Ollama 0.17.4 was recorded to answer: models, residency, `/api/chat`, `/api/generate`, embeddings, loading, unloading
and `keep_alive`, and the same through `/v1`. The model decides what happens:

    scripted:latest  answers WORDS              tools:latest   makes two calls of a tool, both with index 0, as Ollama does
    breaks:latest    three words, then the connection breaks      error:latest   three words, then an error as the last event
    endless:latest   words until the caller leaves                fails:latest   503 before anything
    embed:latest     vectors alone

`GET /control` is what a test looks at: the bodies and headers that arrived, how each call ended, and how many run.
"""

import base64
import hashlib
import json
import os
import struct
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

OPTIONS = dict(argument.split("=", 1) for argument in sys.argv[1:])
NAME = OPTIONS.get("name", "scripted")
WORDS = ["One", " two", " three", " four", " five", " six."]
TOOLS = [("get_weather", {"city": "Lagos"}), ("get_weather", {"city": "Grüße 🦙"})]
PROMPT_TOKENS = 12
CONTEXT = 2048
KINDS = [NAME, "tools", "breaks", "error", "endless", "fails", "embed"]

lock = threading.Lock()
slots = threading.Semaphore(int(OPTIONS.get("slots", 2)))
loaded: dict[str, float] = {}
calls: list[dict] = []


class Broken(Exception):
    """The connection is to be closed without an end of the answer."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    # --- Answers --------------------------------------------------------------------------------------------------------------

    def whole(self, status: int, answer: object) -> None:
        is_text = isinstance(answer, str)
        body = answer.encode() if is_text else json.dumps(answer, ensure_ascii=False).encode()
        self.head(status, "text/plain" if is_text else "application/json", {"Content-Length": str(len(body))})
        if self.command != "HEAD":
            self.wfile.write(body)

    def head(self, status: int, content_type: str, more: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": content_type, "Access-Control-Allow-Origin": "*", **more}.items():
            self.send_header(name, value)
        self.end_headers()

    def chunk(self, data: str) -> None:
        piece = data.encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))

    def error(self, status: int, message: str) -> None:
        if self.path.startswith("/v1/messages"):
            kind = "not_found_error" if status == 404 else "api_error"
            self.whole(status, {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"})
        elif self.path.startswith("/v1/"):
            self.whole(status, {"error": {"message": message, "type": "api_error", "param": None, "code": None}})
        else:
            self.whole(status, {"error": message})

    # --- Requests -------------------------------------------------------------------------------------------------------------

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        answers = {
            "/": lambda: "Ollama is running",
            "/api/version": lambda: {"version": "0.17.4"},
            "/api/tags": lambda: {"models": [described(f"{kind}:latest") for kind in KINDS]},
            "/api/ps": lambda: {"models": [resident(name, until) for name, until in current()]},
            "/v1/models": lambda: {"object": "list", "data": [listed(f"{kind}:latest") for kind in KINDS]},
            "/control": control,
        }
        if path in answers:
            self.whole(200, answers[path]())
        else:
            self.whole(404, "404 page not found")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        path = self.path.partition("?")[0]
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        if "Origin" in self.headers:
            return self.whole(403, "")
        try:
            body = json.loads(text)
        except ValueError:
            return self.error(400, "invalid character")
        model = named(body.get("model", ""))
        if model not in [f"{kind}:latest" for kind in KINDS]:
            return self.error(404, f"model '{body.get('model')}' not found")
        if path == "/api/show":
            return self.whole(200, shown(model))

        call = {"path": self.path, "body": text, "headers": dict(self.headers), "end": "runs"}
        with lock:
            calls.append(call)
        try:
            with slots:
                load(model, body)
                self.serve(path, model, body)
            call["end"] = "complete"
        except Broken:
            call["end"] = "broken"
            self.close_connection = True
        except OSError:
            call["end"] = "cancelled"
            self.close_connection = True

    def serve(self, path: str, model: str, body: dict) -> None:
        if model == "fails:latest":
            return self.error(503, "server busy, please try again.  maximum pending requests exceeded")
        if path in EMBEDDINGS:
            return self.whole(200, EMBEDDINGS[path](body))
        if path not in WRITERS:
            return self.whole(404, "404 page not found")
        if path == "/api/generate" and "prompt" not in body:
            reason = "unload" if body.get("keep_alive") == 0 else "load"
            return self.whole(200, {"model": body["model"], "response": "", "done": True, "done_reason": reason})

        writer = WRITERS[path](body["model"])
        is_native = path.startswith("/api/")
        asked_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        if not body.get("stream", is_native):
            return self.whole(200, self.answer(model, writer))
        self.head(200, "application/x-ndjson" if is_native else "text/event-stream", {"Transfer-Encoding": "chunked"})
        for event in writer.start():
            self.chunk(event)
        self.write(model, writer)
        for event in writer.end(model == "tools:latest", asked_usage):
            self.chunk(event)
        self.chunk("")

    def write(self, model: str, writer: "Chat") -> None:
        if model == "tools:latest":
            for name, arguments in TOOLS:
                self.chunk(writer.tool(name, arguments))
            return
        words = iter(WORDS)
        for number in range(3 if model in ("breaks:latest", "error:latest") else 1 << 30):
            word = " more" if model == "endless:latest" else next(words, None)
            if word is None:
                return
            self.chunk(writer.word(word))
            if model == "endless:latest":
                time.sleep(0.02)
        if model == "breaks:latest":
            raise Broken
        self.chunk(writer.error("an error was encountered while running the model"))
        raise Broken

    def answer(self, model: str, writer: "Chat") -> dict:
        """Returns a whole answer. Ollama notices meanwhile when its caller leaves."""
        if model == "breaks:latest":
            raise Broken
        while model == "endless:latest":
            self.connection.setblocking(False)
            try:
                if self.connection.recv(1) == b"":
                    raise BrokenPipeError
            except BlockingIOError:
                time.sleep(0.02)
        return writer.whole(TOOLS if model == "tools:latest" else None)


# --- The forms of answers -----------------------------------------------------------------------------------------------------


class Chat:
    """`/v1/chat/completions`."""

    def __init__(self, model: str) -> None:
        self.model = model

    def event(self, choices: list, **more: object) -> str:
        base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1795655661, "model": self.model}
        return f"data: {json.dumps({**base, 'choices': choices, **more}, ensure_ascii=False)}\n\n"

    def start(self) -> list[str]:
        return []

    def word(self, word: str) -> str:
        return self.event([{"index": 0, "delta": {"role": "assistant", "content": word}, "finish_reason": None}])

    def tool(self, name: str, arguments: dict) -> str:
        delta = {"role": "assistant", "content": "", "tool_calls": [tool_call(name, arguments)]}
        return self.event([{"index": 0, "delta": delta, "finish_reason": None}])

    def error(self, message: str) -> str:
        return f"data: {json.dumps({'error': {'message': message, 'type': 'api_error', 'param': None, 'code': None}})}\n\n"

    def end(self, is_tool: bool, asked_usage: bool) -> list[str]:
        reason = "tool_calls" if is_tool else "stop"
        end = self.event([{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": reason}])
        usage = [self.event([], usage=counts())] if asked_usage else []
        return [end, *usage, "data: [DONE]\n\n"]

    def whole(self, tools: list | None) -> dict:
        message = {"role": "assistant", "content": "" if tools else "".join(WORDS)}
        if tools:
            message["tool_calls"] = [tool_call(*tool) for tool in tools]
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if tools else "stop"}
        base = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1795655661, "model": self.model}
        return {**base, "system_fingerprint": "fp_ollama", "choices": [choice], "usage": counts()}


class Messages(Chat):
    """`/v1/messages`."""

    blocks = 0

    def event(self, kind: str, **more: object) -> str:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **more}, ensure_ascii=False)}\n\n"

    def start(self) -> list[str]:
        return [self.event("message_start", message=self.message([], {"input_tokens": 3, "output_tokens": 0}, None))]

    def message(self, content: list, usage: dict, reason: str | None) -> dict:
        base = {"id": "msg_1", "type": "message", "role": "assistant", "model": self.model, "content": content}
        return {**base, "stop_reason": reason, "usage": usage}

    def word(self, word: str) -> str:
        block = {"type": "text", "text": ""}
        opening = "" if self.blocks else self.event("content_block_start", index=0, content_block=block)
        self.blocks = 1
        return opening + self.event("content_block_delta", index=0, delta={"type": "text_delta", "text": word})

    def tool(self, name: str, arguments: dict) -> str:
        index = self.blocks
        self.blocks += 1
        block = {"type": "tool_use", "id": f"toolu_{index}", "name": name, "input": {}}
        delta = {"type": "input_json_delta", "partial_json": json.dumps(arguments)}
        return (
            self.event("content_block_start", index=index, content_block=block)
            + self.event("content_block_delta", index=index, delta=delta)
            + self.event("content_block_stop", index=index)
        )

    def error(self, message: str) -> str:
        return self.event("error", error={"type": "api_error", "message": message})

    def end(self, is_tool: bool, asked_usage: bool) -> list[str]:
        closing = [] if is_tool else [self.event("content_block_stop", index=0)]
        delta = {"stop_reason": "tool_use" if is_tool else "end_turn"}
        usage = {"input_tokens": PROMPT_TOKENS, "output_tokens": len(WORDS)}
        return [*closing, self.event("message_delta", delta=delta, usage=usage), self.event("message_stop")]

    def whole(self, tools: list | None) -> dict:
        content: list = [{"type": "text", "text": "".join(WORDS)}]
        if tools:
            content = [
                {"type": "tool_use", "id": f"toolu_{i}", "name": name, "input": arguments}
                for i, (name, arguments) in enumerate(tools)
            ]
        usage = {"input_tokens": PROMPT_TOKENS, "output_tokens": len(WORDS)}
        return self.message(content, usage, "tool_use" if tools else "end_turn")


class Native(Chat):
    """`/api/chat`."""

    def line(self, content: dict, **more: object) -> dict:
        base = {"model": self.model, "created_at": "2026-11-26T01:14:27.045058877Z"}
        return {**base, "message": {"role": "assistant", **content}, **more}

    def event(self, line: dict) -> str:
        return json.dumps(line, ensure_ascii=False) + "\n"

    def word(self, word: str) -> str:
        return self.event(self.line({"content": word}, done=False))

    def tool(self, name: str, arguments: dict) -> str:
        calls = [{"function": {"name": name, "arguments": arguments}}]
        return self.event(self.line({"content": "", "tool_calls": calls}, done=False))

    def error(self, message: str) -> str:
        return self.event({"error": message})

    def end(self, is_tool: bool, asked_usage: bool) -> list[str]:
        return [self.event(self.line({"content": ""}, **self.done()))]

    def done(self) -> dict:
        spans = {"total_duration": 457519092, "load_duration": 69337377, "prompt_eval_duration": 98661906, "eval_duration": 284923065}
        return {"done": True, "done_reason": "stop", "prompt_eval_count": PROMPT_TOKENS, "eval_count": len(WORDS), **spans}

    def whole(self, tools: list | None) -> dict:
        content: dict = {"content": "" if tools else "".join(WORDS)}
        if tools:
            content["tool_calls"] = [{"function": {"name": name, "arguments": arguments}} for name, arguments in tools]
        return self.line(content, **self.done())


class Generate(Native):
    """`/api/generate`."""

    def line(self, content: dict, **more: object) -> dict:
        base = {"model": self.model, "created_at": "2026-11-26T01:14:27.045058877Z"}
        return {**base, "response": content["content"], **more}


WRITERS = {"/v1/chat/completions": Chat, "/v1/messages": Messages, "/api/chat": Native, "/api/generate": Generate}


def tool_call(name: str, arguments: dict) -> dict:
    function = {"name": name, "arguments": json.dumps(arguments)}
    identity = "call_" + hashlib.sha256(function["arguments"].encode()).hexdigest()[:8]
    return {"index": 0, "id": identity, "type": "function", "function": function}


def counts() -> dict:
    tokens = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": len(WORDS)}
    return {**tokens, "total_tokens": PROMPT_TOKENS + len(WORDS)}


def inputs(body: dict) -> list:
    asked = body.get("input", body.get("prompt", ""))
    return asked if isinstance(asked, list) else [asked]


def vector(text: str) -> list[float]:
    digest = hashlib.sha256(text.encode()).digest()
    return [byte / 255 for byte in digest[:8]]


def v1_embeddings(body: dict) -> dict:
    def encoded(text: str) -> object:
        numbers = vector(text)
        is_base64 = body.get("encoding_format") == "base64"
        return base64.b64encode(struct.pack("<8f", *numbers)).decode() if is_base64 else numbers

    data = [{"object": "embedding", "index": i, "embedding": encoded(text)} for i, text in enumerate(inputs(body))]
    usage = {"prompt_tokens": len(data), "total_tokens": len(data)}
    return {"object": "list", "data": data, "model": body["model"], "usage": usage}


EMBEDDINGS = {
    "/v1/embeddings": v1_embeddings,
    "/api/embed": lambda body: {"model": body["model"], "embeddings": [vector(text) for text in inputs(body)], "prompt_eval_count": len(inputs(body))},
    "/api/embeddings": lambda body: {"embedding": vector(inputs(body)[0])},
}

# --- Models -------------------------------------------------------------------------------------------------------------------


def named(name: str) -> str:
    return name if ":" in name else f"{name}:latest"


def details() -> dict:
    kind = {"parent_model": "", "format": "gguf", "family": "llama", "families": ["llama"]}
    return {**kind, "parameter_size": "134.52M", "quantization_level": "Q4_1"}


def described(name: str) -> dict:
    digest = hashlib.sha256(name.encode()).hexdigest()
    base = {"name": name, "model": name, "modified_at": "2026-11-26T01:14:18.897561816Z", "size": 98363062}
    return {**base, "digest": digest, "details": details()}


def listed(name: str) -> dict:
    return {"id": name, "object": "model", "created": 1795655658, "owned_by": "library"}


def shown(name: str) -> dict:
    info = {"general.architecture": "llama", "general.parameter_count": 134515008, "llama.context_length": 8192}
    abilities = ["embedding"] if name == "embed:latest" else ["completion", "tools"]
    return {"details": details(), "model_info": info, "capabilities": abilities, "modified_at": "2026-11-26T01:14:18Z"}


def resident(name: str, until: float) -> dict:
    base = {key: value for key, value in described(name).items() if key != "modified_at"}
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(until))
    return {**base, "expires_at": moment, "size_vram": 0, "context_length": CONTEXT}


def current() -> list[tuple[str, float]]:
    with lock:
        return [(name, until) for name, until in sorted(loaded.items()) if until > time.time()]


def load(model: str, body: dict) -> None:
    """Loads the model as a call does, and unloads it with `keep_alive: 0`."""
    keep_alive = body.get("keep_alive", 300)
    if not any(name == model for name, _ in current()) and keep_alive != 0:
        time.sleep(int(OPTIONS.get("load_ms", 0)) / 1000)
    with lock:
        loaded[model] = time.time() + (keep_alive if isinstance(keep_alive, (int, float)) else 300)


def control() -> dict:
    with lock:
        return {"calls": calls, "running": sum(call["end"] == "runs" for call in calls)}


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


def end_with_stdin() -> None:
    """Ends with the test process, whose end closes the pipe."""
    while sys.stdin.buffer.read1(4096):
        pass
    os._exit(0)


server = Server(("127.0.0.1", int(OPTIONS.get("port", 0))), Handler)
threading.Thread(target=end_with_stdin, daemon=True).start()
print("ready", server.server_address[1], flush=True)
server.serve_forever()
