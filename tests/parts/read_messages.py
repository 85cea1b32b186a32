"""Shows what Python's readers find in messages: `read_messages.py FILE`, with one body a line, in hexadecimal digits.

Prints a line of JSON for each body: a list of [method, name], of all messages that any of the readers finds in it. The readers are
`json`, with the last or the first of members that stand twice, and the official SDK's own.
"""

import json
import sys

from mcp.types import ClientRequest, JSONRPCMessage


def first_wins(pairs):
    found = {}
    for name, value in pairs:
        found.setdefault(name, value)
    return found


def of_value(value):
    messages = value if isinstance(value, list) else [value]
    for message in messages:
        if isinstance(message, list):
            yield from of_value(message)
        elif isinstance(message, dict):
            params = message.get("params")
            name = params.get("name") if isinstance(params, dict) else None
            yield [message.get("method"), name]


def by_json(body, **how):
    try:
        yield from of_value(json.loads(body, **how))
    except (ValueError, RecursionError):
        pass


def by_sdk(body):
    try:
        message = JSONRPCMessage.model_validate_json(body)
        data = message.model_dump(by_alias=True, mode="json", exclude_none=True)
        yield from of_value(data)
        request = ClientRequest.model_validate(data)
        yield from of_value(request.model_dump(by_alias=True, mode="json", exclude_none=True))
    except ValueError:
        pass


def main():
    with open(sys.argv[1], encoding="ascii") as lines:
        for line in lines:
            body = bytes.fromhex(line)
            found = [*by_json(body), *by_json(body, object_pairs_hook=first_wins), *by_sdk(body)]
            # Half surrogates have no UTF-8.
            found = [[str(part).encode(errors="replace").decode() for part in message] for message in found]
            print(json.dumps(found))


main()
