"""FastMCP's client signs in: `fastmcp_4.py URL`; see `client.py`."""

from client import ARGUMENTS, TOOL, browse, calls, run
from fastmcp import Client
from fastmcp.client.auth import OAuth
from mcp.client.auth import AuthorizationCodeResult


class BrowsingOAuth(OAuth):
    """Sends the browser of the tests to the page, and keeps what it comes back with."""

    async def redirect_handler(self, authorization_url: str) -> None:
        self.answer = await browse(authorization_url)

    async def callback_handler(self) -> AuthorizationCodeResult:
        answer = self.answer
        return AuthorizationCodeResult(code=answer["code"], state=answer.get("state"), iss=answer.get("iss"))


async def main(url: str) -> None:
    async with Client(url, auth=BrowsingOAuth(url)) as client:

        async def call() -> str:
            result = await client.call_tool(TOOL, ARGUMENTS)
            return result.content[0].text

        await calls(call)


run(main)
