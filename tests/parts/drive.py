"""The official Python MCP client, used on the server of `stateful.py`: `drive.py URL [CLIENTS]`. Prints its observations.

One JSON object per line, each with the name of the observation in `saw` and the client that made it, in the order of that client.
The test that reads them checks them. The last observation of a client is `done`; without it the run has failed, and standard
error contains the reason. It ends by itself after LIMIT_SECONDS.

Nothing here waits by the clock. Clients run side by side: none starts to call before all have a session, and none ends its
session before all have called.
"""

import json
import sys

import anyio
import httpx
from mcp import ClientSession, types
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client

LIMIT_SECONDS = 25
COUNT_TO = 5


async def main(url: str, clients: int) -> None:
    have_session, have_called = Meeting(clients), Meeting(clients)
    with anyio.fail_after(LIMIT_SECONDS):
        async with anyio.create_task_group() as group:
            for number in range(clients):
                group.start_soon(Client(number).run, url, have_session, have_called)


class Meeting:
    """A barrier: all wait until the last one has arrived."""

    def __init__(self, expected: int) -> None:
        self.missing = expected
        self.complete = anyio.Event()

    async def join(self) -> None:
        self.missing -= 1
        if self.missing == 0:
            self.complete.set()
        await self.complete.wait()


class Client:
    def __init__(self, number: int) -> None:
        self.number = number
        self.listening = anyio.Event()
        self.announced = anyio.Event()

    def saw(self, what: str, **facts: object) -> None:
        print(json.dumps({"saw": what, "client": self.number, **facts}), flush=True)

    async def run(self, url: str, have_session: Meeting, have_called: Meeting) -> None:
        async with create_mcp_http_client() as http:
            http.event_hooks["response"].append(self.see_response)
            # Leaving this block sends the DELETE, and waits for its answer.
            async with streamable_http_client(url, http_client=http) as (read, write, session_id):
                async with ClientSession(
                    read, write, elicitation_callback=self.answer, message_handler=self.see_message
                ) as session:
                    hello = await session.initialize()
                    self.saw(
                        "initialize",
                        server=hello.serverInfo.name,
                        protocol=hello.protocolVersion,
                        session=session_id(),
                    )
                    # The client opens its GET stream by itself, at its own pace.
                    await self.listening.wait()
                    self.saw("listening")
                    await have_session.join()
                    await self.walk(session)
                    await have_called.join()
        self.saw("done")

    async def walk(self, session: ClientSession) -> None:
        tools = await session.list_tools()
        self.saw("tools", names=[tool.name for tool in tools.tools])
        await self.call(session, "echo", text="grüße 🦙")
        await self.call(session, "whoami")
        await self.call(session, "count", to=COUNT_TO)
        await self.call(session, "ask")
        await self.call(session, "announce")
        await self.announced.wait()
        self.saw("announcement")

    async def call(self, session: ClientSession, tool: str, **arguments: object) -> None:
        async with anyio.create_task_group() as group:

            async def progress(done: float, total: float | None, message: str | None) -> None:
                self.saw("progress", tool=tool, done=done, total=total, message=message)
                # The server waits for this call before its next step. Not awaited here, where messages are read.
                group.start_soon(session.call_tool, "hear", {"step": int(done)})

            result = await session.call_tool(tool, arguments, progress_callback=progress)
        text = "".join(part.text for part in result.content if isinstance(part, types.TextContent))
        self.saw("result", tool=tool, text=text, is_error=result.isError)

    async def answer(self, _context: object, question: types.ElicitRequestParams) -> types.ElicitResult:
        self.saw("elicitation", message=question.message)
        return types.ElicitResult(action="accept", content={"value": "Alpha"})

    async def see_message(self, message: object) -> None:
        if isinstance(message, types.ServerNotification) and isinstance(
            message.root, types.ResourceListChangedNotification
        ):
            self.announced.set()

    async def see_response(self, response: httpx.Response) -> None:
        if response.request.method == "GET" and response.status_code == 200:
            self.listening.set()
        if response.request.method == "DELETE":
            self.saw("terminated", status=response.status_code)


anyio.run(main, sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1)
