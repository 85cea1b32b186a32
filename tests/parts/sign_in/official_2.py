"""The official Python client, second version, signs in: `official_2.py URL`; see `client.py`."""

import httpx2
from client import ARGUMENTS, TOOL, browse, calls, run
from mcp import Client
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
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

    async def callback() -> AuthorizationCodeResult:
        return AuthorizationCodeResult(code=answer["code"], state=answer.get("state"), iss=answer.get("iss"))

    metadata = OAuthClientMetadata(client_name="official Python client 2", redirect_uris=[CALLBACK])
    auth = OAuthClientProvider(url, metadata, Memory(), redirect, callback)
    async with (
        httpx2.AsyncClient(auth=auth, follow_redirects=True, timeout=30) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):

        async def call() -> str:
            result = await client.call_tool(TOOL, ARGUMENTS)
            return result.content[0].text

        await calls(call)


run(main)
