//! The MCP clients that people use, and what each of them needs to reach an id: one table, for
//! `llamapool connect` and for docs/guides/clients.md.
//!
//! A key is never part of what is pasted: it is a variable of the environment, or the client asks for it. Where a
//! client reads a file, `files` edits it.

pub(crate) mod files;
mod recipes;

use self::files::ClientFile;

/// What a recipe is for.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The URL of the id.
    pub(crate) url: String,
    /// The name under which the client lists it.
    pub(crate) name: String,
    /// What the id asks of its callers.
    pub(crate) asks: Asks,
}

/// What an id asks of its callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asks {
    /// Nothing.
    Nothing,
    /// A key or token, as a bearer.
    Key,
    /// A sign-in in a browser (OAuth).
    SignIn,
}

/// Where a client runs, as seen from the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// On the internet: the URL must be https on port 443, with a public name.
    Internet,
    /// On the person's machine.
    Machine,
}

/// One step of a recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// To read and do.
    Do(String),
    /// To paste into a shell.
    Shell(String),
    /// To put into a file, in this language.
    File {
        /// Where it is.
        path: &'static str,
        language: &'static str,
        text: String,
    },
}

/// A client.
pub(crate) struct Client {
    /// The word for it on the command line.
    pub(crate) word: &'static str,
    /// Its name.
    pub(crate) name: &'static str,
    pub(crate) reach: Reach,
    /// Where it takes the URL, for the table of the guide.
    pub(crate) place: &'static str,
    /// How it takes a key, for the table of the guide.
    pub(crate) key: &'static str,
    /// The source of its recipe, with its date.
    pub(crate) known: &'static str,
    /// The file that can be edited.
    pub(crate) file: Option<ClientFile>,
    /// Returns the steps.
    pub(crate) recipe: fn(&Place) -> Vec<Step>,
}

/// All clients, in the order of the guide.
pub(crate) static CLIENTS: &[Client] = &[
    Client {
        word: "claude",
        name: "Claude (web, desktop, mobile)",
        reach: Reach::Internet,
        place: "*Settings*, *Connectors*, *Add custom connector*",
        key: "sign-in; request headers on some plans",
        known: "its documentation, November 2026",
        file: None,
        recipe: recipes::claude,
    },
    Client {
        word: "chatgpt",
        name: "ChatGPT",
        reach: Reach::Internet,
        place: "*Settings*, *Connectors*, *Advanced*, developer mode; then *Create*",
        key: "sign-in; no fixed token",
        known: "its documentation, November 2026",
        file: None,
        recipe: recipes::chatgpt,
    },
    Client {
        word: "claude-code",
        name: "Claude Code",
        reach: Reach::Machine,
        place: "`claude mcp add`, or `.mcp.json` in a project",
        key: "`${VARIABLE}` in `headers`; sign-in with `/mcp`",
        known: "its documentation, November 2026",
        file: Some(files::CLAUDE_CODE),
        recipe: recipes::claude_code,
    },
    Client {
        word: "cursor",
        name: "Cursor",
        reach: Reach::Machine,
        place: "`~/.cursor/mcp.json`, or `.cursor/mcp.json` in a project",
        key: "`${env:VARIABLE}` in `headers`; sign-in",
        known: "its documentation, November 2026",
        file: Some(files::CURSOR),
        recipe: recipes::cursor,
    },
    Client {
        word: "vscode",
        name: "VS Code",
        reach: Reach::Machine,
        place: "`.vscode/mcp.json` in a project, or *MCP: Add Server*",
        key: "it asks, by `inputs`; sign-in",
        known: "its documentation, November 2026",
        file: Some(files::VSCODE),
        recipe: recipes::vscode,
    },
    Client {
        word: "codex",
        name: "Codex",
        reach: Reach::Machine,
        place: "`codex mcp add`, or `~/.codex/config.toml`",
        key: "`bearer_token_env_var`; `codex mcp login`",
        known: "run, Codex 0.171",
        file: Some(files::CODEX),
        recipe: recipes::codex,
    },
    Client {
        word: "gemini",
        name: "Gemini CLI",
        reach: Reach::Machine,
        place: "`~/.gemini/settings.json`",
        key: "`$VARIABLE` in `headers`; `/mcp auth`",
        known: "its documentation, November 2026",
        file: Some(files::GEMINI),
        recipe: recipes::gemini,
    },
    Client {
        word: "python",
        name: "Python SDK",
        reach: Reach::Machine,
        place: "`streamable_http_client(url)`",
        key: "a header of its HTTP client",
        known: "run, mcp 1.30",
        file: None,
        recipe: recipes::python,
    },
    Client {
        word: "typescript",
        name: "TypeScript SDK",
        reach: Reach::Machine,
        place: "`new StreamableHTTPClientTransport(url)`",
        key: "`requestInit.headers`",
        known: "run, SDK 1.32",
        file: None,
        recipe: recipes::typescript,
    },
    Client {
        word: "curl",
        name: "curl",
        reach: Reach::Machine,
        place: "the URL",
        key: "a header from a variable",
        known: "run",
        file: None,
        recipe: recipes::curl,
    },
];

impl Client {
    /// Returns the client with this word, `None` if there is none.
    pub(crate) fn by_word(word: &str) -> Option<&'static Self> {
        CLIENTS.iter().find(|client| client.word == word)
    }
}

impl Place {
    /// Returns the name of the variable that a key is in: `notes` has `NOTES_TOKEN`.
    pub(crate) fn variable(&self) -> String {
        let letters = self.name.chars().map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_uppercase()
            } else {
                '_'
            }
        });
        letters.chain("_TOKEN".chars()).collect()
    }
}

/// Returns a name for an id that every client takes: letters, digits, `-` and `_`, a letter first, and short.
pub(crate) fn name_for(id: &str) -> String {
    const MAX_NAME: usize = 32;
    let is_random = id.len() >= MAX_NAME && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_random {
        // The id is the secret of its URL: of it, the name of a tool shows as little as distinguishes two.
        return format!("llamapool-{}", &id[..4]);
    }
    let plain = id.chars().map(|c| {
        if c.is_ascii_alphanumeric() || c == '_' {
            c
        } else {
            '-'
        }
    });
    let plain: String = plain.take(MAX_NAME).collect();
    if plain.starts_with(|c: char| c.is_ascii_alphabetic()) {
        plain
    } else {
        format!("mcp-{plain}")
    }
}

/// Returns the table of the guide, in Markdown.
pub fn table() -> String {
    let mut table =
        "| client | `--client` | where | key or token | known by |\n|---|---|---|---|---|\n"
            .to_owned();
    for client in CLIENTS {
        let Client {
            name,
            word,
            place,
            key,
            known,
            ..
        } = client;
        table.push_str(&format!(
            "| {name} | `{word}` | {place} | {key} | {known} |\n"
        ));
    }
    table
}

/// Returns the recipes of the guide, in Markdown, for an id that asks for a key.
pub fn recipes() -> String {
    let place = Place {
        url: "https://llamapool.example/api/mcp/id/notes".to_owned(),
        name: "notes".to_owned(),
        asks: Asks::Key,
    };
    let mut text = String::new();
    for client in CLIENTS {
        text.push_str(&format!("### {}\n\n", client.name));
        for step in (client.recipe)(&place) {
            text.push_str(&step.markdown());
            text.push('\n');
        }
    }
    text.trim_end().to_owned() + "\n"
}

impl Step {
    fn markdown(&self) -> String {
        match self {
            Self::Do(text) => format!("{text}\n"),
            Self::Shell(text) => format!("```sh\n{text}\n```\n"),
            Self::File {
                path,
                language,
                text,
            } => format!("In `{path}`:\n\n```{language}\n{text}\n```\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_client_takes_the_name_of_every_id() {
        for (id, name) in [
            ("notes", "notes"),
            ("team.a~b", "team-a-b"),
            ("9lives", "mcp-9lives"),
            ("dd31ae4979c9df11a6dbec28643daef9", "llamapool-dd31"),
        ] {
            assert_eq!(name_for(id), name);
        }
        assert!(name_for(&"x".repeat(128)).len() <= 32);
    }

    /// A key is typed by its owner where the client asks for it, and nowhere else.
    #[test]
    fn no_recipe_has_a_place_for_a_key_on_a_command_line() {
        for client in CLIENTS {
            for asks in [Asks::Nothing, Asks::Key, Asks::SignIn] {
                let place = Place {
                    url: "https://pool.example/api/mcp/id/notes".to_owned(),
                    name: "notes".to_owned(),
                    asks,
                };

                let steps = (client.recipe)(&place);

                assert!(!steps.is_empty(), "{}", client.word);
                let text: String = steps.iter().map(Step::markdown).collect();
                assert!(text.contains("pool.example/api/mcp/id/notes"), "{text}");
                assert!(
                    !text.contains("<token>") && !text.contains("YOUR"),
                    "{text}"
                );
                assert_eq!(
                    text.contains("NOTES_TOKEN"),
                    asks == Asks::Key && client.reach == Reach::Machine && client.word != "vscode",
                    "{text}"
                );
            }
        }
    }
}
