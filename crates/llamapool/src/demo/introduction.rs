//! What the demo prints: an address, and commands that can be pasted into a shell.

use std::net::SocketAddr;

use llamapool_wire::Secret;

use super::{ID, echo_model};
use crate::settings::DemoProvider;

/// Returns the introduction of a demo whose server has this address and key.
pub(super) fn text(kind: DemoProvider, server: SocketAddr, api_key: &Secret) -> String {
    let url = format!("http://{server}");
    let bearer = format!("-H 'Authorization: Bearer {}'", api_key.expose());

    match kind {
        DemoProvider::Mcp => of_mcp_server(&url, &bearer),
        DemoProvider::Llm => of_model(&url, &bearer),
    }
}

fn of_mcp_server(url: &str, bearer: &str) -> String {
    let call = |id: u32, method: &str, params: &str| {
        format!(
            "curl -s -X POST {url}/api/mcp/id/{ID} \\\n  -H 'Content-Type: application/json' \\\n  \
             -d '{{\"jsonrpc\": \"2.0\", \"id\": {id}, \"method\": \"{method}\", \"params\": {params}}}'\n"
        )
    };

    format!(
        "\nA small MCP server is reached through llamapool at\n\n    {url}/api/mcp/id/{ID}\n\n\
         Who is connected:\n\ncurl -s {url}/api/state {bearer}\n\n\
         Which tools it has:\n\n{}\n\
         Call one:\n\n{}\n\
         Ctrl-C ends the demo.\n",
        call(2, "tools/list", "{}"),
        call(
            3,
            "tools/call",
            "{\"name\": \"time/now\", \"arguments\": {}}"
        ),
    )
}

fn of_model(url: &str, bearer: &str) -> String {
    let model = echo_model::MODEL;
    let chat = |options: &str, members: &str| {
        format!(
            "curl {options} {url}/v1/chat/completions \\\n  {bearer} \\\n  \
             -d '{{\"model\": \"{model}\", {members}\"messages\": \
             [{{\"role\": \"user\", \"content\": \"Hello from afar\"}}]}}'\n"
        )
    };

    format!(
        "\nA small LLM runtime is reached through llamapool at\n\n    {url}/v1\n\n\
         Who is connected:\n\ncurl -s {url}/api/state {bearer}\n\n\
         Which models it has:\n\ncurl -s {url}/v1/models {bearer}\n\n\
         Ask one; it repeats what it is asked:\n\n{}\n\
         The same as a stream:\n\n{}\n\
         Ctrl-C ends the demo.\n",
        chat("-s", ""),
        chat("-sN", "\"stream\": true, "),
    )
}
