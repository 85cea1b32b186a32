//! The recipes, one function for each client.

use super::{Asks, Client, Place, Step};

fn todo(text: impl Into<String>) -> Step {
    Step::Do(text.into())
}

/// Returns the step that puts the key into the environment, without showing it and without leaving it in the
/// history of the shell.
fn key_in_environment(place: &Place, of: &str) -> Step {
    let variable = place.variable();
    todo(format!(
        "Put the key into `{variable}` of the environment {of}, for example with `read -rs {variable} && export {variable}`."
    ))
}

/// Returns the step that puts an entry into the file of a client.
fn file(word: &str, place: &Place) -> Vec<Step> {
    let file = Client::by_word(word).and_then(|client| client.file);
    file.map(|file| Step::File {
        path: file.shown,
        language: file.language(),
        text: file.alone(place),
    })
    .into_iter()
    .collect()
}

pub(super) fn claude(place: &Place) -> Vec<Step> {
    let mut steps = vec![todo(format!(
        "*Settings*, *Connectors*, *Add custom connector*. Name: `{}`. URL: `{}`",
        place.name, place.url
    ))];
    steps.push(todo(match place.asks {
        Asks::Nothing => "Leave the rest as it is, and choose *Add*: the URL is the secret.",
        Asks::SignIn => "Choose *Add*, then *Connect*, and sign in on the page of the server.",
        Asks::Key => {
            "If your plan has request headers, add `Authorization` with `Bearer`, a space and the key. If not, the server must \
             offer a sign-in: `SIGN_IN` and `llamapool access set`."
        }
    }));
    steps
}

pub(super) fn chatgpt(place: &Place) -> Vec<Step> {
    let authentication = match place.asks {
        Asks::Nothing => "Authentication: *No authentication*.",
        Asks::SignIn => "Authentication: *OAuth*; sign in on the page of the server.",
        Asks::Key => {
            "ChatGPT sends no fixed key: the server must offer a sign-in (`SIGN_IN` and `llamapool access set`). Authentication is then \
             *OAuth*."
        }
    };
    vec![
        todo("*Settings*, *Connectors*, *Advanced*: switch *Developer mode* on."),
        todo(format!(
            "*Connectors*, *Create*. Name: `{}`. MCP server URL: `{}`",
            place.name, place.url
        )),
        todo(authentication),
    ]
}

pub(super) fn claude_code(place: &Place) -> Vec<Step> {
    let Place { name, url, asks } = place;
    match asks {
        Asks::Nothing => vec![Step::Shell(format!(
            "claude mcp add --transport http {name} {url}"
        ))],
        Asks::SignIn => vec![
            Step::Shell(format!("claude mcp add --transport http {name} {url}")),
            todo("In a session, `/mcp` signs in."),
        ],
        Asks::Key => {
            let mut steps = file("claude-code", place);
            steps.push(key_in_environment(place, "in which you start `claude`"));
            steps
        }
    }
}

pub(super) fn cursor(place: &Place) -> Vec<Step> {
    let mut steps = file("cursor", place);
    match place.asks {
        Asks::Nothing => {}
        Asks::Key => steps.push(key_in_environment(place, "in which you start Cursor")),
        Asks::SignIn => steps.push(todo(
            "In the settings, under MCP, choose *Connect* and sign in.",
        )),
    }
    steps
}

pub(super) fn vscode(place: &Place) -> Vec<Step> {
    let mut steps = file("vscode", place);
    match place.asks {
        Asks::Nothing => {}
        Asks::Key => steps.push(todo(
            "VS Code asks for the key when it connects, and keeps it.",
        )),
        Asks::SignIn => steps.push(todo("VS Code opens the page of the server to sign in.")),
    }
    steps
}

pub(super) fn codex(place: &Place) -> Vec<Step> {
    let Place { name, url, asks } = place;
    let variable = place.variable();
    match asks {
        Asks::Nothing => vec![Step::Shell(format!("codex mcp add {name} --url {url}"))],
        Asks::SignIn => vec![Step::Shell(format!(
            "codex mcp add {name} --url {url}\ncodex mcp login {name}"
        ))],
        Asks::Key => vec![
            Step::Shell(format!(
                "codex mcp add {name} --url {url} --bearer-token-env-var {variable}"
            )),
            key_in_environment(place, "in which you start `codex`"),
        ],
    }
}

pub(super) fn gemini(place: &Place) -> Vec<Step> {
    let mut steps = file("gemini", place);
    match place.asks {
        Asks::Nothing => {}
        Asks::Key => steps.push(key_in_environment(place, "in which you start `gemini`")),
        Asks::SignIn => steps.push(todo(format!(
            "In a session, `/mcp auth {}` signs in.",
            place.name
        ))),
    }
    steps
}

/// Returns the recipe of a client that is a program of the person's own.
fn in_code(place: &Place, path: &'static str, language: &'static str, text: String) -> Vec<Step> {
    let mut steps = vec![Step::File {
        path,
        language,
        text,
    }];
    match place.asks {
        Asks::Nothing => {}
        Asks::Key => steps.push(key_in_environment(place, "of the program")),
        Asks::SignIn => steps.push(todo(
            "Instead of a sign-in, which needs a browser, a program has a caller key: `llamapool key create caller`.",
        )),
    }
    steps
}

pub(super) fn python(place: &Place) -> Vec<Step> {
    let Place { url, asks, .. } = place;
    let text = match asks {
        Asks::Key => PYTHON_WITH_KEY.replace("VARIABLE", &place.variable()),
        Asks::Nothing | Asks::SignIn => PYTHON.to_owned(),
    };
    in_code(place, "tools.py", "python", text.replace("URL", url))
}

const PYTHON: &str = r#"import asyncio

from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client


async def main():
    async with streamable_http_client("URL") as (read, write, _):
        async with ClientSession(read, write) as session:
            await session.initialize()
            for tool in (await session.list_tools()).tools:
                print(tool.name)


asyncio.run(main())"#;

const PYTHON_WITH_KEY: &str = r#"import asyncio
import os

import httpx
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client


async def main():
    headers = {"Authorization": f"Bearer {os.environ['VARIABLE']}"}
    async with (
        httpx.AsyncClient(headers=headers) as http,
        streamable_http_client("URL", http_client=http) as (read, write, _),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        for tool in (await session.list_tools()).tools:
            print(tool.name)


asyncio.run(main())"#;

pub(super) fn typescript(place: &Place) -> Vec<Step> {
    let variable = place.variable();
    let url = &place.url;
    let options = match place.asks {
        Asks::Key => format!(
            ", {{\n  requestInit: {{ headers: {{ Authorization: `Bearer ${{process.env.{variable}}}` }} }},\n}}"
        ),
        _ => String::new(),
    };
    let text = format!(
        "import {{ Client }} from \"@modelcontextprotocol/sdk/client/index.js\";\n\
         import {{ StreamableHTTPClientTransport }} from \"@modelcontextprotocol/sdk/client/streamableHttp.js\";\n\n\
         const transport = new StreamableHTTPClientTransport(new URL(\"{url}\"){options});\n\
         const client = new Client({{ name: \"example\", version: \"1.0.0\" }});\n\
         await client.connect(transport);\n\
         for (const tool of (await client.listTools()).tools) console.log(tool.name);\n\
         await client.close();"
    );
    in_code(place, "tools.mjs", "js", text)
}

pub(super) fn curl(place: &Place) -> Vec<Step> {
    let variable = place.variable();
    let url = &place.url;
    let rest = "  -H 'Content-Type: application/json' \\\n  -d '{\"jsonrpc\": \"2.0\", \"id\": 1, \"method\": \"tools/list\"}'";
    match place.asks {
        // On standard input, so that no list of processes shows it.
        Asks::Key => vec![
            key_in_environment(place, "of the shell"),
            Step::Shell(format!(
                "curl -s -X POST {url} \\\n  -H @<(printf 'Authorization: Bearer %s' \"${variable}\") \\\n{rest}"
            )),
        ],
        Asks::Nothing => vec![Step::Shell(format!("curl -s -X POST {url} \\\n{rest}"))],
        Asks::SignIn => vec![
            Step::Shell(format!("curl -s -X POST {url} \\\n{rest}")),
            todo(
                "That shows the challenge: instead of a sign-in, a program has a caller key: `llamapool key create caller`.",
            ),
        ],
    }
}
