"""An MCP server on standard input and output that does what a test says, be it wrong: faulty.py TRAIT…

Traits are of the whole program:
  modern              knows MCP 2026-07-28, and nothing older
  dual                knows both
  silent              answers nothing but initialize and what comes after it
  hesitant            does not answer initialize
  stubborn            ignores SIGTERM and the ends of its input and output
  forks               has a child and a daemon from the start, both as stubborn as it is
  ends-while=FILE     ends with status 3 at once while there is such a file
  ends-if-asked       ends with status 3 when it is asked which revisions it knows

What else it does is a tool, see below: a test calls one. The one rule: standard library alone, and nothing by the clock.
"""

import json
import os
import signal
import sys
import threading

TRAITS = sys.argv[1:]
heard = []
held = {}
questions = {}
writing = threading.Lock()


def write(data):
    try:
        with writing:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
    except BrokenPipeError:
        if "stubborn" not in TRAITS:
            raise
        wait_for_ever()


def send(message):
    write(json.dumps(message, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")


def answer(id, **result):
    send({"jsonrpc": "2.0", "id": id, "result": {"content": [], "resultType": "complete", **result}})


def fail(id, code, message):
    send({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})


def wait_for_ever():
    while True:
        signal.pause()


def be_stubborn():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


# --- Tools: each gets the id of its call, the arguments, and the token of its progress ----------------------------------------


def echo(id, arguments, token):
    answer(id, echo=arguments)


def pid(id, arguments, token):
    answer(id, pid=os.getpid())


def surroundings(id, arguments, token):
    answer(id, environment=dict(os.environ), directory=os.getcwd())


def what_you_heard(id, arguments, token):
    """Every line so far, as it came."""
    answer(id, heard=heard)


def say(id, arguments, token):
    """Writes bytes, given as the characters of the same numbers; $ID and $TOKEN are those of the call. It answers no more
    than these bytes do."""
    data = arguments["bytes"].encode("latin-1")
    data = data.replace(b"$ID", json.dumps(id).encode()).replace(b"$TOKEN", json.dumps(token).encode())
    write(data)


def say_long(id, arguments, token):
    """An answer of so many bytes and a few more."""
    digits = b"0123456789abcdef"
    text = digits * (arguments["bytes"] // len(digits))
    write(b'{"jsonrpc":"2.0","id":%s,"result":{"text":"%s"}}\n' % (json.dumps(id).encode(), text))


def complain(id, arguments, token):
    """Writes so many bytes to standard error, then answers."""
    line = b"\x1b[31mevery line that is said here is as long as this one and as useless, really\x1b[0m\n"
    for _ in range(arguments["bytes"] // len(line) // 1000 + 1):
        sys.stderr.buffer.write(line * 1000)
    sys.stderr.buffer.flush()
    answer(id)


def end(id, arguments, token):
    print(arguments.get("words", ""), file=sys.stderr, flush=True)
    os._exit(arguments["status"])


def be_killed(id, arguments, token):
    os.kill(os.getpid(), signal.SIGKILL)


def stop_reading(id, arguments, token):
    answer(id)
    wait_for_ever()


def hold(id, arguments, token):
    """Is answered when it is let go."""
    held[arguments["name"]] = id


def let_go(id, arguments, token):
    answer(held.pop(arguments["name"]), let_go=arguments["name"])
    answer(id)


def ask(id, arguments, token):
    """Asks the client something, and answers with what the client said."""
    number = f"question-{len(questions)}"
    questions[number] = id
    send({"jsonrpc": "2.0", "id": number, "method": arguments["method"], "params": arguments.get("params", {})})


def become_a_daemon(id, arguments, token):
    """Leaves a process behind that has a session of its own, holds the output, and does not end by itself."""
    daemon()
    answer(id)


def daemon():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            be_stubborn()
            wait_for_ever()
        os._exit(0)
    os.wait()


def child():
    if os.fork() == 0:
        be_stubborn()
        wait_for_ever()


TOOLS = {
    name: tool
    for name, tool in globals().items()
    if callable(tool) and getattr(tool, "__code__", None) and tool.__code__.co_varnames[:3] == ("id", "arguments", "token")
}

# --- Messages -------------------------------------------------------------------------------------------------------------------


def initialize(id, params):
    if "modern" in TRAITS and "dual" not in TRAITS:
        return fail(id, -32601, "this server has no initialize")
    if "hesitant" in TRAITS:
        return
    revision = params["protocolVersion"]
    server = {"name": "faulty", "version": "0"}
    answer(id, protocolVersion=revision, capabilities={"tools": {}, "logging": {}}, serverInfo=server)


def discover(id, params):
    if "ends-if-asked" in TRAITS:
        os._exit(3)
    if "silent" in TRAITS:
        return
    if "modern" not in TRAITS:
        return fail(id, -32601, "no such method")
    answer(id, supportedVersions=["2026-07-28"], capabilities={"tools": {}}, serverInfo={"name": "faulty", "version": "0"})


def list_tools(id, params):
    answer(id, tools=[{"name": name, "inputSchema": {"type": "object"}} for name in TOOLS], ttlMs=0, cacheScope="public")


def call_tool(id, params):
    tool = TOOLS.get(params["name"])
    if tool is None:
        return fail(id, -32602, "no such tool")
    tool(id, params.get("arguments", {}), params.get("_meta", {}).get("progressToken"))


METHODS = {"initialize": initialize, "server/discover": discover, "tools/list": list_tools, "tools/call": call_tool}


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


def main():
    for trait in TRAITS:
        if trait.startswith("ends-while=") and os.path.exists(trait.partition("=")[2]):
            print("not while there is this file", file=sys.stderr, flush=True)
            sys.exit(3)
    if "stubborn" in TRAITS or "forks" in TRAITS:
        be_stubborn()
    if "forks" in TRAITS:
        child()
        daemon()
    for line in sys.stdin.buffer:
        heard.append(line.decode("utf-8", "surrogateescape"))
        message = json.loads(line)
        for one in message if isinstance(message, list) else [message]:
            take(one)
    if "stubborn" in TRAITS or "forks" in TRAITS:
        wait_for_ever()


main()
