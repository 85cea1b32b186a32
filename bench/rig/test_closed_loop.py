"""The load with an exact number of calls, against a server that answers in the test."""

import http.server
import json
import threading
import unittest

from rig.closed_loop import ChatCall, ClosedLoop, LoadFailed, LongToolCall, SizedToolCall, ToolCall

CHAT = b'{"object":"chat.completion","choices":[{"finish_reason":"stop"}]}'


class Server:
    """Answers each call with what `answer` returns for its JSON: a status and bytes."""

    def __init__(self, answer):
        self.calls = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.calls.append((dict(self.headers), json.loads(body)))
                status, data = answer(json.loads(body))
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        # The load hangs up where an answer is wrong.
        self.server.handle_error = lambda *_: None
        self.url = f"http://127.0.0.1:{self.server.server_port}/calls"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def run(answer, call):
    with Server(answer) as server:
        load = ClosedLoop(server.url, 3, call)
        try:
            load.run(10, 10)
        finally:
            load.close()
        return server.calls


def echoed(message):
    return 200, json.dumps({"id": message["id"]}).encode()


class Loads(unittest.TestCase):
    def test_exactly_so_many_calls_are_made_each_with_an_id_of_its_own(self):
        calls = run(echoed, ToolCall())

        self.assertEqual(len(calls), 10)
        self.assertEqual(len({message["id"] for _, message in calls}), 10)

    def test_a_long_call_has_the_size_of_a_chat(self):
        calls = run(echoed, LongToolCall())
        chats = run(lambda _: (200, CHAT), ChatCall({"Authorization": "Bearer k"}))

        long, chat = (len(json.dumps(group[0][1])) for group in (calls, chats))
        self.assertLess(abs(long - chat), 100)
        self.assertEqual(chats[0][0]["Authorization"], "Bearer k")

    def test_a_sized_call_has_its_size_and_wants_an_answer_of_it(self):
        def answer(message):
            return 200, (f'{{"id":{message["id"]},"x":"' + "w" * 4096 + '"}').encode()

        calls = run(answer, SizedToolCall(4096))

        self.assertEqual({int(headers["Content-Length"]) for headers, _ in calls}, {4096})
        with self.assertRaises(LoadFailed):
            run(echoed, SizedToolCall(4096))

    def test_an_answer_to_another_call_ends_the_load(self):
        wrong = [(lambda _: (200, b"{}"), ToolCall()), (lambda _: (500, CHAT), ChatCall({})),
                 (lambda _: (200, b'{"error":"busy"}'), ChatCall({}))]
        for answer, call in wrong:
            with self.assertRaises(LoadFailed):
                run(answer, call)


if __name__ == "__main__":
    unittest.main()
