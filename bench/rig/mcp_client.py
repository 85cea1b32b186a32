"""The few MCP messages that the run itself sends: to see that a path works, to open sessions, to learn a tool's name.

The one rule: it never makes load. Load comes from wrk and oha.
"""

import http.client
import itertools
import json
import time
from urllib.parse import urlsplit

REVISION = "2025-06-18"
_ids = itertools.count(1)


class NotAnswered(Exception):
    """The path did not answer a call as it should."""


def call(url, method, params=None, headers=None, timeout=10):
    """Sends one request; its result, and the headers of the answer in small letters."""
    request = {"jsonrpc": "2.0", "id": next(_ids), "method": method, "params": params or {}}
    status, answer_headers, text = _post(url, request, headers, timeout)
    if status != 200:
        raise NotAnswered(f"{method}: status {status}: {text[:200]}")
    for message in _messages(text):
        if message.get("id") == request["id"]:
            if "result" not in message:
                raise NotAnswered(f"{method}: {json.dumps(message)[:200]}")
            return message["result"], answer_headers
    raise NotAnswered(f"{method}: no answer with id {request['id']}: {text[:200]}")


def open_session(url):
    """Begins a session; the headers that calls in it need. A provider that has none gets none."""
    params = {"protocolVersion": REVISION, "capabilities": {}, "clientInfo": {"name": "bench", "version": "0"}}
    result, answered = call(url, "initialize", params, timeout=30)
    headers = {"MCP-Protocol-Version": result["protocolVersion"]}
    if "mcp-session-id" in answered:
        headers["Mcp-Session-Id"] = answered["mcp-session-id"]
    _post(url, {"jsonrpc": "2.0", "method": "notifications/initialized"}, headers, 10)
    return headers


def echo_tool(url, headers):
    """The name that the provider's tool has on this path: gateways put something in front of it."""
    tools, _ = call(url, "tools/list", headers=headers)
    names = [tool["name"] for tool in tools["tools"] if tool["name"].endswith("echo")]
    if not names:
        raise NotAnswered(f"tools/list has no echo: {tools}")
    return names[0]


def wait_until_called(url, seconds, in_session):
    """Calls until it is answered; headers and tool of the call that was."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            headers = open_session(url) if in_session else {}
            tool = echo_tool(url, headers) if in_session else "echo"
            call(url, "tools/call", {"name": tool, "arguments": {}}, headers)
            return headers, tool
        except (OSError, http.client.HTTPException, NotAnswered, ValueError) as error:
            if time.monotonic() > deadline:
                raise NotAnswered(f"{url} did not answer within {seconds} s: {error}") from error
            time.sleep(0.01)


def get(url, headers=None, timeout=10):
    """The status and text of a plain GET."""
    target = urlsplit(url)
    connection = http.client.HTTPConnection(target.hostname, target.port, timeout=timeout)
    try:
        connection.request("GET", target.path or "/", headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def _post(url, message, headers, timeout):
    target = urlsplit(url)
    connection = http.client.HTTPConnection(target.hostname, target.port, timeout=timeout)
    wanted = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream", **(headers or {})}
    try:
        connection.request("POST", target.path or "/", json.dumps(message), wanted)
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode()
    finally:
        connection.close()


def _messages(text):
    """The messages of an answer, be it JSON or a stream of events."""
    if text.lstrip().startswith("{"):
        return [json.loads(text)]
    data = [line[5:].strip() for line in text.splitlines() if line.startswith("data:")]
    return [json.loads(each) for each in data if each]
