"""The few MCP messages that the run itself sends: to check a path, to open sessions, to get a tool's name.

It never makes load. Load comes from wrk and oha.
"""

import http.client
import itertools
import json
import ssl
import time
from urllib.parse import urlsplit

REVISION = "2025-06-18"
_ids = itertools.count(1)


class NotAnswered(Exception):
    """The path did not answer a call correctly."""


def call(url, method, params=None, headers=None, timeout=10, message_id=None):
    """Sends one request and returns its result, and the headers of the answer in lower case."""
    request = {"jsonrpc": "2.0", "id": message_id or next(_ids), "method": method, "params": params or {}}
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
    """Begins a session and returns the headers of its calls; none for a provider without sessions."""
    params = {"protocolVersion": REVISION, "capabilities": {}, "clientInfo": {"name": "bench", "version": "0"}}
    result, answered = call(url, "initialize", params, timeout=30)
    headers = {"MCP-Protocol-Version": result["protocolVersion"]}
    if "mcp-session-id" in answered:
        headers["Mcp-Session-Id"] = answered["mcp-session-id"]
    _post(url, {"jsonrpc": "2.0", "method": "notifications/initialized"}, headers, 10)
    return headers


def echo_tool(url, headers):
    """Returns the name of the provider's tool on this path: gateways prefix it."""
    tools, _ = call(url, "tools/list", headers=headers)
    names = [tool["name"] for tool in tools["tools"] if tool["name"].endswith("echo")]
    if not names:
        raise NotAnswered(f"tools/list has no echo: {tools}")
    return names[0]


def wait_until_called(url, seconds, in_session, message_id=None):
    """Calls until an answer arrives, and returns headers and tool of that call. The calls have the id, or each has its own."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            headers = open_session(url) if in_session else {}
            tool = echo_tool(url, headers) if in_session else "echo"
            call(url, "tools/call", {"name": tool, "arguments": {}}, headers, message_id=message_id)
            return headers, tool
        except (OSError, http.client.HTTPException, NotAnswered, ValueError) as error:
            if time.monotonic() > deadline:
                raise NotAnswered(f"{url} did not answer within {seconds} s: {error}") from error
            time.sleep(0.01)


def get(url, headers=None, timeout=10):
    """Returns the status and text of a plain GET."""
    target = urlsplit(url)
    connection = http.client.HTTPConnection(target.hostname, target.port, timeout=timeout)
    try:
        connection.request("GET", target.path or "/", headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def _connection(target, timeout):
    """The certificates of a run are its own, so they are not checked."""
    if target.scheme == "https":
        return http.client.HTTPSConnection(target.hostname, target.port, timeout=timeout, context=ssl._create_unverified_context())
    return http.client.HTTPConnection(target.hostname, target.port, timeout=timeout)


def _post(url, message, headers, timeout):
    target = urlsplit(url)
    connection = _connection(target, timeout)
    wanted = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream", **(headers or {})}
    try:
        connection.request("POST", target.path or "/", json.dumps(message), wanted)
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode()
    finally:
        connection.close()


def _messages(text):
    """Returns the messages of an answer, either JSON or an event stream."""
    if text.lstrip().startswith("{"):
        return [json.loads(text)]
    data = [line[5:].strip() for line in text.splitlines() if line.startswith("data:")]
    return [json.loads(each) for each in data if each]
