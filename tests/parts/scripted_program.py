"""A scripted MCP server on standard input and output, right or wrong as a test needs it: scripted_program.py TRAIT…

A trait holds for the whole program:
  modern              supports MCP 2026-07-28 alone
  dual                with modern: supports the older revisions, too
  ignores-discover    does not answer server/discover
  ignores-initialize  does not answer initialize
  stubborn            ignores SIGTERM and the ends of its input and output
  forks               starts a child and a daemon, both as stubborn as it is
  exits-while=FILE    exits with status 3 at once while the file exists
  exits-on-discover   exits with status 3 at server/discover
  loads-while=FILE    prints to both outputs, and reads and answers nothing while the file exists

Everything else is a tool that a test calls, see below. It uses the standard library alone and waits for no clock except while it
loads.
"""

import json
import os
import signal
import sys
import threading
import time

TRAITS = sys.argv[1:]
received = []
held = {}
questions = {}
writing = threading.Lock()


def write_stdout(data):
    try:
        with writing:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
    except BrokenPipeError:
        if "stubborn" not in TRAITS:
            raise
        wait_forever()


def send(message):
    write_stdout(json.dumps(message, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")


def answer(id, **result):
    send({"jsonrpc": "2.0", "id": id, "result": {"content": [], "resultType": "complete", **result}})


def fail(id, code, message):
    send({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})


def wait_forever():
    while True:
        signal.pause()


def become_stubborn():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


# --- Tools: each takes the id of its call, the arguments and the progress token -----------------------------------------------


def echo(id, arguments, token):
    answer(id, echo=arguments)


def pid(id, arguments, token):
    answer(id, pid=os.getpid())


def environment(id, arguments, token):
    answer(id, environment=dict(os.environ), directory=os.getcwd())


def received_lines(id, arguments, token):
    """Answers with every line received so far."""
    answer(id, lines=received)


def write(id, arguments, token):
    """Writes bytes, each given as the character of the same number; $ID and $TOKEN stand for those of the call. There is no other
    answer."""
    data = arguments["bytes"].encode("latin-1")
    data = data.replace(b"$ID", json.dumps(id).encode()).replace(b"$TOKEN", json.dumps(token).encode())
    write_stdout(data)


def write_long(id, arguments, token):
    """Answers with a text of this many bytes."""
    digits = b"0123456789abcdef"
    text = digits * (arguments["bytes"] // len(digits))
    write_stdout(b'{"jsonrpc":"2.0","id":%s,"result":{"text":"%s"}}\n' % (json.dumps(id).encode(), text))


def write_stderr(id, arguments, token):
    """Writes this many bytes to standard error, then answers."""
    line = b"\x1b[31mevery line that is said here is as long as this one and as useless, really\x1b[0m\n"
    for _ in range(arguments["bytes"] // len(line) // 1000 + 1):
        sys.stderr.buffer.write(line * 1000)
    sys.stderr.buffer.flush()
    answer(id)


def exit(id, arguments, token):
    print(arguments.get("words", ""), file=sys.stderr, flush=True)
    os._exit(arguments["status"])


def kill_itself(id, arguments, token):
    os.kill(os.getpid(), signal.SIGKILL)


def kill_guard(id, arguments, token):
    """Leaves the process group and kills the parent, and would live on. There is no answer."""
    become_stubborn()
    os.setsid()
    os.kill(os.getppid(), signal.SIGKILL)
    wait_forever()


def stop_reading(id, arguments, token):
    answer(id)
    wait_forever()


def close_input(id, arguments, token):
    """Closes standard input and lives on."""
    os.close(0)
    answer(id)
    wait_forever()


def hold(id, arguments, token):
    """Is answered when it is released."""
    held[arguments["name"]] = id


def release(id, arguments, token):
    answer(held.pop(arguments["name"]), release=arguments["name"])
    answer(id)


def ask_client(id, arguments, token):
    """Sends a request to the client, and answers with the response."""
    number = f"question-{len(questions)}"
    questions[number] = id
    send({"jsonrpc": "2.0", "id": number, "method": arguments["method"], "params": arguments.get("params", {})})


def start_daemon(id, arguments, token):
    """Leaves a process behind that is in a process session of its own, holds the output open, and does not end by itself."""
    daemon()
    answer(id)


def daemon():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            become_stubborn()
            wait_forever()
        os._exit(0)
    os.wait()


def child():
    if os.fork() == 0:
        become_stubborn()
        wait_forever()


TOOLS = {
    name: tool
    for name, tool in globals().items()
    if callable(tool) and getattr(tool, "__code__", None) and tool.__code__.co_varnames[:3] == ("id", "arguments", "token")
}

# --- Messages -------------------------------------------------------------------------------------------------------------------


def initialize(id, params):
    if "modern" in TRAITS and "dual" not in TRAITS:
        return fail(id, -32601, "this server has no initialize")
    if "ignores-initialize" in TRAITS:
        return
    revision = params["protocolVersion"]
    server = {"name": "scripted", "version": "0"}
    answer(id, protocolVersion=revision, capabilities={"tools": {}, "logging": {}}, serverInfo=server)


def discover(id, params):
    if "exits-on-discover" in TRAITS:
        os._exit(3)
    if "ignores-discover" in TRAITS:
        return
    if "modern" not in TRAITS:
        return fail(id, -32601, "no such method")
    answer(id, supportedVersions=["2026-07-28"], capabilities={"tools": {}}, serverInfo={"name": "scripted", "version": "0"})


def list_tools(id, params):
    answer(id, tools=[{"name": name, "inputSchema": {"type": "object"}} for name in TOOLS], ttlMs=0, cacheScope="public")


def call_tool(id, params):
    tool = TOOLS.get(params["name"])
    if tool is None:
        return fail(id, -32602, "no such tool")
    tool(id, params.get("arguments", {}), params.get("_meta", {}).get("progressToken"))


def subscribe(id, params):
    """Has no answer: the stream stays open for notifications."""


METHODS = {
    "initialize": initialize,
    "server/discover": discover,
    "subscriptions/listen": subscribe,
    "tools/list": list_tools,
    "tools/call": call_tool,
}


def take(message):
    if "method" not in message:
        asked = questions.pop(message["id"], None)
        if asked is not None:
            answer(asked, client=message)
    elif "id" in message:
        method = METHODS.get(message["method"])
        if method is None:
            return fail(message["id"], -32601, "no such method")
        method(message["id"], message.get("params", {}))


def load(file):
    write_stdout(b"downloading\n")
    print("downloading", file=sys.stderr, flush=True)
    while os.path.exists(file):
        time.sleep(0.02)


def main():
    for trait in TRAITS:
        if trait.startswith("exits-while=") and os.path.exists(trait.partition("=")[2]):
            print("not while there is this file", file=sys.stderr, flush=True)
            sys.exit(3)
        if trait.startswith("loads-while="):
            load(trait.partition("=")[2])
    if "stubborn" in TRAITS or "forks" in TRAITS:
        become_stubborn()
    if "forks" in TRAITS:
        child()
        daemon()
    for line in sys.stdin.buffer:
        received.append(line.decode("utf-8", "surrogateescape"))
        message = json.loads(line)
        for one in message if isinstance(message, list) else [message]:
            take(one)
    if "stubborn" in TRAITS or "forks" in TRAITS:
        wait_forever()


main()
