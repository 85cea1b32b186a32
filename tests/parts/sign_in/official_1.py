"""The official Python client, first version, signs in: `official_1.py URL`; see `client.py`."""

import httpx
from client import ARGUMENTS, TOOL, browse, calls, run
from mcp import ClientSession
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientMetadata

CALLBACK = "http://127.0.0.1:33418/callback"


class Memory:
    """Keeps what the client gets, for this run."""

    def __init__(self) -> None:
        self.tokens = None
        self.client = None

    async def get_tokens(self) -> object:
        return self.tokens

    async def set_tokens(self, tokens: object) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> object:
        return self.client

    async def set_client_info(self, client: object) -> None:
        self.client = client


async def main(url: str) -> None:
    answer = {}

    async def redirect(to: str) -> None:
        answer.update(await browse(to))

    async def callback() -> tuple:
        return answer["code"], answer.get("state")

    metadata = OAuthClientMetadata(client_name="official Python client 1", redirect_uris=[CALLBACK])
    auth = OAuthClientProvider(url, metadata, Memory(), redirect, callback)
    async with (
        httpx.AsyncClient(auth=auth, follow_redirects=True, timeout=30) as http,
        streamable_http_client(url, http_client=http) as (read, write, _),
        ClientSession(read, write) as session,
    ):
        await session.initialize()

        async def call() -> str:
            result = await session.call_tool(TOOL, ARGUMENTS)
            return result.content[0].text

        await calls(call)


run(main)
