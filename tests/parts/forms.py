"""A FastMCP 4 server in one of its forms: `forms.py FORM`, one of FORMS. Its tools are those of the clients' walk, with the texts of
`conformance/provider`, as far as the form supports them.

Clients of 2026-07-28 are left to `conformance/provider`. Its check of the Host and Origin headers is on, as in `stateful.py`.
"""

import asyncio
import sys

from fastmcp import Context, FastMCP
from loopback import serve_on_loopback
from mcp import types
from pydantic import BaseModel, Field
from sse_starlette import EventSourceResponse

FORMS = {
    # HTTP with SSE: the stream at /sse names the endpoint for messages.
    "sse": {"transport": "sse"},
    # The others are one endpoint, /mcp: with sessions or without, answering with event streams or with JSON.
    "sessions": {"transport": "http"},
    "sessions-json": {"transport": "http", "json_response": True},
    "stateless": {"transport": "http", "stateless_http": True},
    "stateless-json": {"transport": "http", "stateless_http": True, "json_response": True},
}
STEP_SECONDS = 0.02

app = FastMCP("llamapool-forms")

# Comments by the clock would be at another position in each run.
EventSourceResponse.DEFAULT_PING_INTERVAL = 3600


class Person(BaseModel):
    username: str = Field(description="User's response")
    email: str = Field(description="User's email address")


@app.tool
def test_simple_text() -> str:
    """Answers with one text."""
    return "This is a simple text response for testing."


@app.tool
async def test_tool_with_progress(ctx: Context) -> str:
    """Reports its progress, if the request wants it."""
    for done in (0, 50, 100):
        if done > 0:
            await asyncio.sleep(STEP_SECONDS)
        await ctx.report_progress(done, 100)
    if form is FORMS["sse"]:
        # The TypeScript client drops progress that arrives with the result. Once it has answered this, it has reported the
        # progress.
        await ctx.session.send_ping()
    return "went from 0 to 100"


@app.tool
async def test_sampling(prompt: str, ctx: Context) -> str:
    """Asks the model of the client."""
    asked = types.SamplingMessage(role="user", content=types.TextContent(type="text", text=prompt))
    answer = await ctx.session.create_message([asked], max_tokens=100, related_request_id=ctx.request_id)
    return f"LLM response: {answer.content.text}"


@app.tool
async def test_elicitation(message: str, ctx: Context) -> str:
    """Asks the user of the client."""
    answer = await ctx.elicit(message, Person)
    form = f'{{"email":"{answer.data.email}","username":"{answer.data.username}"}}'
    return f"User response: action={answer.action}, content={form}"


if __name__ == "__main__":
    form = FORMS[sys.argv.pop(1)]
    serve_on_loopback()
    app.run(**form, host_origin_protection=True, show_banner=False)
