"""A runtime whose model works a task with tools: `scripted_agent_runtime.py [option=value …]`.

Options: `script` (a JSON file, below), `silence` in seconds (5) of the model that is silent, `port` (any free one). When it accepts
requests, it prints `ready <port>`; it ends with its standard input.

It speaks `/v1/responses` and `/v1/chat/completions`, both streamed. The model decides what happens:

    agent    works the script
    silent   begins an answer, is silent, and then completes it
    breaks   begins an answer, and then the connection breaks
    busy     503 before anything
    A name with a colon, `failed:CODE`, begins an answer and ends it as failed, with that code. `once-` before the name of such a
    model makes it fail the first time alone.

A script is `{"turns": [[[tool, arguments], …], …], "text": final text}`. A turn is one answer with these calls of tools; the next turn
follows when the agent has sent the results of all of them, so that the script advances by what the agent did alone. A tool is named by
the end of the agent's own name for it. `{0}` in an argument or in the text is the first result, `{1}` the second.

`GET /control` is what a test looks at: what each call asked, the tools and the results in it, and how it ended.
"""

import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

OPTIONS = dict(argument.split("=", 1) for argument in sys.argv[1:])
SCRIPT = json.loads(Path(OPTIONS["script"]).read_text()) if "script" in OPTIONS else {"turns": [], "text": "Done."}
FAILURES = [
    "server_error",
    "rate_limit_exceeded",
    "worker_lost",
    "context_length_exceeded",
    "insufficient_quota",
    "invalid_prompt",
    "server_is_overloaded",
    "slow_down",
]
MODELS = ["agent", "silent", "breaks", "busy", "once-silent", *(f"failed:{code}" for code in FAILURES)]

lock = threading.Lock()
calls: list[dict] = []


class Broken(Exception):
    """The connection is to be closed without an end of the answer."""


class NoTool(Exception):
    """The agent has no tool of this name."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def whole(self, status: int, answer: object) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def chunk(self, data: str) -> None:
        piece = data.encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/v1/models":
            models = [{"id": name, "object": "model", "created": 1795655658, "owned_by": "tests"} for name in MODELS]
            self.whole(200, {"object": "list", "data": models})
        elif path == "/control":
            with lock:
                self.whole(200, {"calls": calls})
        else:
            self.whole(404, {"error": {"message": f"no path {path}", "type": "invalid_request_error"}})

    def do_POST(self) -> None:
        path = self.path.partition("?")[0]
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        if path not in APIS:
            return self.whole(404, {"error": {"message": f"no path {path}", "type": "invalid_request_error"}})
        api = APIS[path](json.loads(text))
        model = api.body["model"]
        call = {"path": path, "model": model, "headers": dict(self.headers), "tools": list(api.tools), "results": api.results}
        call |= {"bytes": len(text), "end": "runs"}
        with lock:
            is_first = not any(earlier["model"] == model for earlier in calls)
            calls.append(call)
        kind = model
        if model.startswith("once-"):
            kind = model.removeprefix("once-") if is_first else "agent"
        try:
            call["end"] = self.serve(kind, api)
        except Broken:
            call["end"] = "broken"
            self.close_connection = True
        except OSError:
            call["end"] = "cancelled"
            self.close_connection = True

    def serve(self, kind: str, api: "Responses | Chat") -> str:
        if kind == "busy":
            self.whole(503, {"error": {"message": "too many requests", "type": "server_error", "code": "busy"}})
            return "refused"
        asked_stream = api.body.get("stream", False)
        if not asked_stream:
            self.whole(400, {"error": {"message": "only streams are scripted", "type": "invalid_request_error"}})
            return "refused"
        start = api.start()
        try:
            turn = api.turn() if kind == "agent" else ""
        except NoTool as error:
            self.whole(400, {"error": {"message": str(error), "type": "invalid_request_error"}})
            return "refused"
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.chunk(start)
        end = "complete"
        if kind == "agent":
            self.chunk(turn)
        else:
            self.chunk(api.opening())
            if kind == "silent":
                time.sleep(float(OPTIONS.get("silence", 5)))
            elif kind == "breaks":
                raise Broken
            if kind.startswith("failed:"):
                self.chunk(api.failed(kind.removeprefix("failed:")))
                end = "failed"
            else:
                self.chunk(api.closing())
        self.chunk("")
        return end


# --- The script ---------------------------------------------------------------------------------------------------------------


def next_turn(results: list[str]) -> tuple[int, list | None]:
    """Returns the number of the first call of the turn that follows these results, and its calls; `None` after the last."""
    first = 0
    for turn in SCRIPT["turns"]:
        if len(results) <= first:
            return first, turn
        first += len(turn)
    return first, None


def filled(template: object, results: list[str]) -> object:
    """Puts the results in their places, in the texts of arguments alone."""
    if isinstance(template, str):
        for number, result in enumerate(results):
            template = template.replace("{%d}" % number, result)
        return template
    if isinstance(template, dict):
        return {name: filled(value, results) for name, value in template.items()}
    if isinstance(template, list):
        return [filled(value, results) for value in template]
    return template


def as_text(output: object) -> str:
    """Returns the text of a result. Agents send it as a text or as a list of parts. Codex puts the time that the tool took before it, and
    sends the structured result, of which FastMCP makes `{"result": …}`."""
    text = output if isinstance(output, str) else "".join(part.get("text", "") for part in output)
    text = text.rpartition("\nOutput:\n")[2]
    try:
        structured = json.loads(text)
    except ValueError:
        return text
    is_wrapped = isinstance(structured, dict) and list(structured) == ["result"]
    return structured["result"] if is_wrapped else text


class Api:
    """What is the same in both APIs."""

    def __init__(self, body: dict) -> None:
        self.body = body
        self.tools = self.find_tools()
        self.results = self.find_results()

    def tool(self, name: str) -> str:
        found = [own for own in self.tools if own.endswith(name)]
        if len(found) != 1:
            raise NoTool(f"not one tool has a name that ends in {name}: {list(self.tools)}")
        return found[0]


class Responses(Api):
    """`/v1/responses`."""

    number = 0

    def event(self, kind: str, **more: object) -> str:
        data = {"type": kind, "sequence_number": self.number, **more}
        self.number += 1
        return f"event: {kind}\ndata: {json.dumps(data)}\n\n"

    def find_tools(self) -> dict[str, dict]:
        found = {}
        for tool in self.body.get("tools", []):
            if tool["type"] == "namespace":
                for inner in tool["tools"]:
                    found[tool["name"] + inner["name"]] = {"namespace": tool["name"], "name": inner["name"]}
            elif "name" in tool:
                found[tool["name"]] = {"name": tool["name"]}
        return found

    def find_results(self) -> list[str]:
        asked = self.body["input"]
        items = asked if isinstance(asked, list) else []
        return [as_text(item["output"]) for item in items if item.get("type") == "function_call_output"]

    def response(self, status: str, **more: object) -> dict:
        base = {"id": "resp_1", "object": "response", "created_at": 1795655661, "model": self.body["model"]}
        return {**base, "status": status, "output": [], **more}

    def start(self) -> str:
        return self.event("response.created", response=self.response("in_progress"))

    def turn(self) -> str:
        first, asked = next_turn(self.results)
        if asked is None:
            return self.text(str(filled(SCRIPT["text"], self.results)))
        items = []
        events = ""
        for index, (name, arguments) in enumerate(asked):
            arguments = json.dumps(filled(arguments, self.results))
            own = self.tools[self.tool(name)]
            item = {"type": "function_call", "id": f"fc_{first + index}", "call_id": f"call_{first + index}", **own}
            events += self.event("response.output_item.added", output_index=index, item={**item, "arguments": ""})
            events += self.event("response.function_call_arguments.delta", output_index=index, item_id=item["id"], delta=arguments)
            items.append({**item, "arguments": arguments, "status": "completed"})
            events += self.event("response.output_item.done", output_index=index, item=items[-1])
        return events + self.completed(items)

    def text(self, text: str) -> str:
        return self.opening(text) + self.closing(text)

    def opening(self, text: str = "Done.") -> str:
        item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "in_progress", "content": []}
        added = self.event("response.output_item.added", output_index=0, item=item)
        where = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
        return added + self.event("response.output_text.delta", **where, delta=text)

    def closing(self, text: str = "Done.") -> str:
        content = [{"type": "output_text", "text": text, "annotations": []}]
        item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": content}
        return self.event("response.output_item.done", output_index=0, item=item) + self.completed([item])

    def completed(self, items: list) -> str:
        usage = {"input_tokens": 10, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 5}
        usage |= {"output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 15}
        return self.event("response.completed", response=self.response("completed", output=items, usage=usage))

    def failed(self, code: str) -> str:
        error = {"code": code, "message": f"the scripted failure {code}"}
        return self.event("response.failed", response=self.response("failed", error=error))


class Chat(Api):
    """`/v1/chat/completions`."""

    def find_tools(self) -> dict[str, dict]:
        return {tool["function"]["name"]: {} for tool in self.body.get("tools", [])}

    def find_results(self) -> list[str]:
        return [as_text(message["content"]) for message in self.body["messages"] if message["role"] == "tool"]

    def event(self, delta: dict, reason: str | None = None) -> str:
        base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1795655661, "model": self.body["model"]}
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return f"data: {json.dumps({**base, 'choices': [choice]})}\n\n"

    def start(self) -> str:
        return self.event({"role": "assistant", "content": ""})

    def turn(self) -> str:
        # Agents ask for a title of the conversation in a call of its own, without tools.
        if not self.tools:
            return self.event({"content": "A title"}) + self.end("stop")
        first, asked = next_turn(self.results)
        if asked is None:
            return self.event({"content": filled(SCRIPT["text"], self.results)}) + self.end("stop")
        events = ""
        for index, (name, arguments) in enumerate(asked):
            function = {"name": self.tool(name), "arguments": ""}
            call = {"index": index, "id": f"call_{first + index}", "type": "function", "function": function}
            events += self.event({"tool_calls": [call]})
            # In two pieces, as runtimes write them.
            text = json.dumps(filled(arguments, self.results))
            for piece in (text[:5], text[5:]):
                events += self.event({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
        return events + self.end("tool_calls")

    def opening(self) -> str:
        return self.event({"content": "Done."})

    def closing(self) -> str:
        return self.end("stop")

    def failed(self, code: str) -> str:
        return f"data: {json.dumps({'error': {'message': f'the scripted failure {code}', 'code': code}})}\n\n"

    def end(self, reason: str) -> str:
        base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1795655661, "model": self.body["model"]}
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        asked = (self.body.get("stream_options") or {}).get("include_usage")
        counts = f"data: {json.dumps({**base, 'choices': [], 'usage': usage})}\n\n" if asked else ""
        return self.event({}, reason) + counts + "data: [DONE]\n\n"


APIS = {"/v1/responses": Responses, "/v1/chat/completions": Chat}


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


def end_with_stdin() -> None:
    """Ends with the test process, whose end closes the pipe."""
    while sys.stdin.buffer.read1(4096):
        pass
    os._exit(0)


def main() -> None:
    server = Server(("127.0.0.1", int(OPTIONS.get("port", 0))), Handler)
    threading.Thread(target=end_with_stdin, daemon=True).start()
    print("ready", server.server_address[1], flush=True)
    server.serve_forever()


main()
