//! Files of MCP servers: the three dialects, what is replaced in them, and every way in which they
//! can be wrong.

use std::path::Path;

use super::*;
use crate::settings::ServersFile;

/// The environment of these tests. `sh` is found in it.
const ENVIRONMENT: Pairs<'static> = &[
    ("PATH", "/usr/bin:/bin"),
    ("HOME", "/home/me"),
    ("TOKEN", "hunter2"),
    ("EMPTY", ""),
];

/// A file of MCP servers in a directory of its own.
struct File {
    directory: tempfile::TempDir,
}

impl File {
    fn new(content: impl AsRef<[u8]>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("mcp.json"), content).unwrap();
        Self { directory }
    }

    fn path(&self) -> String {
        let path = self.directory.path().join("mcp.json");
        path.to_str().unwrap().to_owned()
    }

    fn resolve_with(&self, flags: Pairs<'_>) -> Result<RelaySettings, ConfigError> {
        let path = self.path();
        let mut all = vec![("MCP_SERVERS", path.as_str())];
        all.extend_from_slice(flags);
        let given = Given {
            flags: &all,
            environment: ENVIRONMENT,
            file: None,
        };
        given.relay()
    }

    /// Returns the lines of the error, with the directory of the file left out.
    fn errors(&self, flags: Pairs<'_>) -> Vec<String> {
        let error = self.resolve_with(flags).expect_err("the file is wrong");
        let shown = format!("{error}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(!debug(&error).contains("hunter2"), "{error:?}");

        let directory = format!("{}/", self.directory.path().display());
        let lines = shown.replace(&directory, "");
        let lines = lines
            .lines()
            .filter(|line| !line.ends_with("errors in the settings:"));
        lines.map(|line| line.trim().to_owned()).collect()
    }
}

fn servers(content: &str) -> RelaySettings {
    File::new(content).resolve_with(&[]).unwrap()
}

fn error(content: impl AsRef<[u8]>) -> String {
    let lines = File::new(content).errors(&[]);
    assert_eq!(lines.len(), 1, "{lines:#?}");
    lines[0].clone()
}

fn program(provider: &ProviderConfig) -> &llamapool_bridge::BridgeConfig {
    match &provider.kind {
        ProviderKind::Stdio(program) => program,
        other => panic!("{other:?}"),
    }
}

fn words(provider: &ProviderConfig) -> Vec<&str> {
    let command = program(provider).command.iter();
    command.map(|word| word.to_str().unwrap()).collect()
}

fn variable<'a>(provider: &'a ProviderConfig, name: &str) -> Option<&'a str> {
    let variables = &program(provider).environment;
    let (_, value) = variables.iter().find(|(known, _)| known == name)?;
    value.to_str()
}

fn ids(settings: &RelaySettings) -> Vec<&str> {
    let providers = settings.config.providers.iter();
    providers
        .map(|provider| provider.id.as_ref().unwrap().as_str())
        .collect()
}

fn notes(settings: &RelaySettings) -> Vec<String> {
    settings
        .servers_file
        .as_ref()
        .map(ServersFile::notes)
        .unwrap_or_default()
}

const CLAUDE_DESKTOP: &str = r#"{
  "mcpServers": {
    "filesystem": { "command": "sh", "args": ["-c", "exec server ~/x"], "env": { "KEY": "a,b=c" } },
    "My Remote": { "url": "https://mcp.example/mcp" }
  },
  "globalShortcut": ""
}"#;

const CURSOR: &str = r#"{
  "mcpServers": {
    "local": {
      "command": "sh", "args": ["~/server", "${env:TOKEN}", "${UNSET:-default}", "a ${not a variable}"],
      "cwd": "/", "env": { "A": "${TOKEN}", "H": "${userHome}", "E": "${EMPTY}", "D": "${EMPTY:-d}" },
      "autoApprove": ["x"]
    },
    "remote": { "serverUrl": "https://mcp.example/mcp?k=${TOKEN}", "headers": { "X-Key": "Bearer ${env:TOKEN}" } },
    "off": { "command": "/no/such/program", "args": [1], "disabled": true },
    "off as well": { "enabled": false }
  }
}"#;

const VS_CODE: &str = r#"// The servers of a workspace.
{
  "inputs": [{ "id": "key", "type": "promptString", "password": true, }],
  /* A comment,
     of several lines. */
  "servers": {
    "a": { "type": "stdio", "command": "sh", "args": [], "env": { "N": 7, "GONE": null }, "dev": {} },
    "b": { "type": "http", "url": "http://127.0.0.1:1/mcp", "headers": {}, },
    "c": { "type": "sse", "url": "http://127.0.0.1:2/sse" },
  },
}"#;

#[test]
fn a_file_of_claude_desktop_is_taken() {
    let settings = servers(CLAUDE_DESKTOP);

    assert_eq!(ids(&settings), ["filesystem", "My-Remote"]);
    let [files, remote] = &settings.config.providers[..] else {
        panic!("two providers")
    };
    assert_eq!(words(files), ["sh", "-c", "exec server ~/x"]);
    assert_eq!(variable(files, "KEY"), Some("a,b=c"));
    assert_eq!(http(remote).url, "https://mcp.example/mcp");
    assert_eq!(notes(&settings).len(), 1);
    assert!(notes(&settings)[0].contains("globalShortcut"));
}

#[test]
fn a_file_of_cursor_is_taken_with_its_variables() {
    let settings = servers(CURSOR);

    assert_eq!(ids(&settings), ["local", "remote"]);
    let [local, remote] = &settings.config.providers[..] else {
        panic!("two providers")
    };
    assert_eq!(
        words(local),
        [
            "sh",
            "/home/me/server",
            "hunter2",
            "default",
            "a ${not a variable}"
        ]
    );
    assert_eq!(program(local).directory.as_deref(), Some(Path::new("/")));
    for (name, value) in [("A", "hunter2"), ("H", "/home/me"), ("E", ""), ("D", "d")] {
        assert_eq!(variable(local, name), Some(value), "{name}");
    }
    assert_eq!(http(remote).url, "https://mcp.example/mcp?k=hunter2");
    assert_eq!(http(remote).headers["x-key"], "Bearer hunter2");
    assert!(notes(&settings)[0].contains(r#""local.autoApprove""#));
}

#[test]
fn a_file_of_vs_code_is_taken_with_comments_and_commas() {
    let settings = servers(VS_CODE);

    assert_eq!(ids(&settings), ["a", "b", "c"]);
    assert_eq!(variable(&settings.config.providers[0], "N"), Some("7"));
    let [note] = &notes(&settings)[..] else {
        panic!("one note")
    };
    assert!(
        note.contains("a.dev") && note.contains("a.env.GONE (null)"),
        "{note}"
    );
    assert!(!note.contains("inputs"), "{note}");
}

#[test]
fn variables_of_an_env_file_give_way_to_those_of_the_server() {
    let file = File::new(
        r#"{"mcpServers": {"a": {"command": "sh", "envFile": "${DIR}/env", "env": {"B": "own"}}}}"#,
    );
    std::fs::write(file.directory.path().join("env"), "A=pa$$\nB=file\n").unwrap();
    let path = file.path();
    let directory = file.directory.path().to_str().unwrap().to_owned();

    let settings = Given {
        flags: &[("MCP_SERVERS", &path)],
        environment: &[("PATH", "/usr/bin:/bin"), ("DIR", &directory)],
        file: None,
    }
    .relay()
    .unwrap();

    let provider = &settings.config.providers[0];
    assert_eq!(variable(provider, "A"), Some("pa$$"));
    assert_eq!(variable(provider, "B"), Some("own"));
}

#[test]
fn settings_for_all_providers_count_for_servers_too() {
    let file = File::new(CLAUDE_DESKTOP);

    let settings = file
        .resolve_with(&[("AUTH_TOKEN", "t"), ("PROVIDER_ENV", "KEY=weaker,OTHER=x")])
        .unwrap();

    let files = &settings.config.providers[0];
    assert!(files.auth_token.as_ref().unwrap().matches(b"t"));
    assert_eq!(variable(files, "KEY"), Some("a,b=c"));
    assert_eq!(variable(files, "OTHER"), Some("x"));
}

#[test]
fn a_prefix_stands_before_every_id() {
    let file = File::new(CLAUDE_DESKTOP);

    let settings = file.resolve_with(&[("ID_PREFIX", "alice-")]).unwrap();

    assert_eq!(ids(&settings), ["alice-filesystem", "alice-My-Remote"]);
    let error = file.errors(&[("ID_PREFIX", "a/b")]);
    assert!(error[0].contains("expected at most 64 of A-Z"), "{error:?}");
}

#[test]
fn servers_and_tables_of_the_settings_file_add_up() {
    let file = File::new(CLAUDE_DESKTOP);
    let toml = format!(
        "mcp_servers = '{}'\n[[provider]]\nid = 'own'\nurl = 'http://a'\n",
        file.path()
    );
    let both = |toml: &str| {
        let given = Given {
            environment: ENVIRONMENT,
            file: Some(toml),
            ..Given::default()
        };
        given.relay()
    };

    assert_eq!(
        ids(&both(&toml).unwrap()),
        ["own", "filesystem", "My-Remote"]
    );
    let error = both(&toml.replace("'own'", "'filesystem'"))
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "provider 1 and server \"filesystem\" have the same id \"filesystem\": ids must be unique"
    );
}

/// Printing is for those who move to TOML: the printed file must be the same providers, whatever is
/// in them.
#[test]
fn the_printed_file_is_the_same_providers() {
    let nasty = r#"{"mcpServers": {"n": {"command": "/bin/sh", "args": ["a b", "'\"\\", "line\nend", "",
        "\u00e9\u202e\u0007", "'''", "\"\"\"\n"], "cwd": "/", "env": {"A": "x\n'\"\\=,#", "B": ""}},
        "u": {"url": "http://a/?b=c", "headers": {"X-A": "\"'\\ #,"}}}}"#;
    for content in [CLAUDE_DESKTOP, CURSOR, VS_CODE, nasty] {
        let settings = servers(content);
        let printed = settings.servers_file.as_ref().unwrap().to_toml();

        let again = Given {
            environment: ENVIRONMENT,
            file: Some(&printed),
            ..Given::default()
        };
        let again = again
            .relay()
            .unwrap_or_else(|error| panic!("{error}\n{printed}"));

        let before = &settings.config.providers;
        let after = &again.config.providers;
        assert_eq!(before.len(), after.len());
        for (one, other) in before.iter().zip(after) {
            assert!(one.is_same_as(other), "{printed}");
        }
    }
}

#[test]
fn no_secret_of_a_file_shows() {
    let settings = servers(CURSOR);

    assert!(!debug(&settings).contains("hunter2"));
    assert!(
        notes(&settings)
            .iter()
            .all(|note| !note.contains("hunter2"))
    );
    let printing = settings.servers_file.as_ref().unwrap().notes_on_printing();
    assert!(printing.iter().any(|note| note.contains("may be secrets")));
}

#[test]
fn a_file_that_is_no_json_is_refused_with_its_line() {
    for (content, expected) in [
        (
            "",
            "the file \"mcp.json\", line 1: is empty, expected a JSON object with mcpServers or servers",
        ),
        (
            "{",
            "the file \"mcp.json\", line 1: is not valid JSON: unterminated object",
        ),
        (
            "{\n\"mcpServers\": {\"a\": {\"command\": \"hunter2}}}",
            "the file \"mcp.json\", line 2: is not valid JSON: unterminated string literal",
        ),
        (
            "{'mcpServers': {}}",
            "the file \"mcp.json\", line 1: is not valid JSON: single-quoted strings are not allowed",
        ),
        (
            "{\"mcpServers\": {}} {}",
            "the file \"mcp.json\", line 1: is not valid JSON: text cannot contain more than one json value",
        ),
        (
            "[]",
            "the file \"mcp.json\", line 1: has no MCP servers: expected the key mcpServers, as in files of Claude Desktop and Cursor, or servers, as in those of VS Code",
        ),
        (
            "{}",
            "the file \"mcp.json\", line 1: has no MCP servers: expected the key mcpServers, as in files of Claude Desktop and Cursor, or servers, as in those of VS Code",
        ),
        (
            "{\"mcpServers\": []}",
            "the file \"mcp.json\", line 1: \"mcpServers\": an array, expected an object with a key for each server",
        ),
        (
            "{\"mcpServers\": {},\n\"servers\": {}}",
            "the file \"mcp.json\", line 2: has both mcpServers and servers: expected one of them",
        ),
        (
            "{\"mcpServers\": {}}",
            "the file \"mcp.json\": has no MCP server that is not disabled",
        ),
        (
            "{\"mcpServers\": {},\n\"mcpServers\": {}}",
            "the file \"mcp.json\", line 2: the key \"mcpServers\" is there twice: expected it once",
        ),
    ] {
        let lines = File::new(content).errors(&[]);
        assert!(
            lines.contains(&expected.to_owned()),
            "{content}: {lines:#?}"
        );
    }
}

#[test]
fn encodings_of_windows_are_named() {
    let utf16 = |text: &str, little: bool| -> Vec<u8> {
        let units = text.encode_utf16();
        units
            .flat_map(|unit| {
                if little {
                    unit.to_le_bytes()
                } else {
                    unit.to_be_bytes()
                }
            })
            .collect()
    };
    let with_mark = [b"\xef\xbb\xbf".as_slice(), CLAUDE_DESKTOP.as_bytes()].concat();

    assert!(File::new(with_mark).resolve_with(&[]).is_ok());
    for wide in [
        utf16("\u{feff}{}", true),
        utf16("\u{feff}{}", false),
        utf16("{}", true),
    ] {
        assert_eq!(
            error(wide),
            "the file \"mcp.json\": is in UTF-16 or UTF-32, expected UTF-8: save it in that encoding"
        );
    }
    assert_eq!(
        error(b"{\"a\": \"\xff\"}"),
        "the file \"mcp.json\": is not in UTF-8"
    );
}

#[test]
fn huge_and_deep_files_end_soon() {
    let long = format!(
        "{{\"mcpServers\": {{}}, \"a\": \"{}\"}}",
        "x".repeat(1 << 20)
    );
    let many: Vec<String> = (0..257).map(|n| format!("\"{n}\": {{}}")).collect();
    let many = format!("{{\"mcpServers\": {{{}}}}}", many.join(","));
    let wrong: Vec<String> = (0..200).map(|n| format!("\"{n}\": 1")).collect();
    let wrong = format!("{{\"mcpServers\": {{{}}}}}", wrong.join(","));

    assert!(error(long).ends_with("has more than 1024 KiB, expected a file of MCP servers"));
    for open in ["[", "{\"a\":"] {
        let deep = open.repeat(100_000);
        assert!(error(deep).contains("nesting depth exceeded"), "{open}");
    }
    assert!(error(many).ends_with("has 257 MCP servers, expected at most 256"));
    let lines = File::new(wrong).errors(&[]);
    assert_eq!(lines.len(), 65);
    assert_eq!(lines[64], "the file \"mcp.json\": 136 more errors");
}

#[cfg(unix)]
#[test]
fn what_is_no_regular_file_is_not_opened() {
    let file = File::new("");
    let pipe = file.directory.path().join("pipe");
    let made = std::process::Command::new("mkfifo")
        .arg(&pipe)
        .status()
        .unwrap();
    assert!(made.success());

    for path in [file.directory.path(), &pipe, Path::new("/dev/zero")] {
        let path = path.to_str().unwrap();
        let text = environment(&[("MCP_SERVERS", path)])
            .relay()
            .unwrap_err()
            .to_string();
        assert_eq!(text, format!("the file {path:?}: is no regular file"));
    }
    let text = environment(&[("MCP_SERVERS", "/no/such")])
        .relay()
        .unwrap_err()
        .to_string();
    assert!(
        text.starts_with("the file \"/no/such\": cannot be read: "),
        "{text}"
    );
}

#[test]
fn all_errors_of_all_servers_are_told_at_once() {
    let content = r#"{
  "mcpServers": {
    "a": { "command": ["npx", "hunter2"], "args": "hunter2", "env": [], "cwd": 5 },
    "b": { "command": "sh", "url": "http://a" },
    "c": {},
    "d": 5,
    "e": { "url": "hunter2" },
    "f": { "command": "no-such-program" },
    "g": { "command": "sh", "cwd": "/no/such", "env": { "1A": "hunter2" } },
    "h": { "type": "ws", "url": "http://a" },
    "i": { "type": "stdio", "url": "http://a" },
    "j": { "command": "sh", "args": ["${UNSET}", "${input:key}", "${workspaceFolder}", "${WORKER_KEY}"] },
    "k": { "command": "sh", "command": "sh", "disabled": "yes" },
    "..": { "command": "sh" },
    "my notes": { "command": "sh" },
    "my-notes": { "command": "sh" },
    "l": { "url": "http://a", "headers": { "Bad Name": "hunter2" } },
    "m": { "command": "sh", "env": { "A": "\u0000", "B": true } },
    "n": { "command": "sh", "envFile": "/no/such/file" }
  }
}"#;

    let lines = File::new(content).errors(&[]);

    insta::assert_snapshot!("wrong_servers", lines.join("\n"));
}

#[test]
fn errors_that_only_starting_shows_are_told_at_once_too() {
    let content = r#"{
  "mcpServers": {
    "e": { "url": "hunter2" },
    "f": { "command": "no-such-program" },
    "g": { "command": "sh", "cwd": "/no/such", "env": { "1A": "hunter2" } },
    "l": { "url": "http://a", "headers": { "Bad Name": "hunter2" } },
    "\u001b[31m\u202e": { "command": "npx -y hunter2" }
  }
}"#;

    let lines = lenient_errors(&File::new(content));

    insta::assert_snapshot!("servers_that_cannot_start", lines.join("\n"));
}

/// Returns the lines of the error as the command line shows them, with the directory left out.
fn lenient_errors(file: &File) -> Vec<String> {
    let flag = FlagValue {
        flag: "--mcp-servers".into(),
        setting: roles::RELAY.schema.by_name("MCP_SERVERS").unwrap(),
        text: file.path(),
        form: FlagForm::Value,
    };
    let environment = ENVIRONMENT.iter().copied().collect();
    let sources = Sources::collect_leniently(roles::RELAY.schema, [flag], &environment);
    let resolved = (roles::RELAY.resolve)(&sources);

    let error = ConfigError::all(sources.take_problems(), resolved).unwrap_err();
    let shown = error.to_string();
    assert!(
        !shown.contains("hunter2") && !debug(&error).contains("hunter2"),
        "{shown}"
    );
    assert!(!shown.contains(['\u{1b}', '\u{202e}']), "{shown:?}");
    let directory = format!("{}/", file.directory.path().display());
    let lines = shown.replace(&directory, "");
    lines
        .lines()
        .skip(1)
        .map(|line| line.trim().to_owned())
        .collect()
}

#[test]
fn a_file_excludes_a_provider_of_the_command_line() {
    for (name, value) in [
        ("CLIENT_ID", "a"),
        ("PROVIDER_COMMAND", "sh"),
        ("PROVIDER_URL", "http://a"),
    ] {
        let lines = File::new(CLAUDE_DESKTOP).errors(&[(name, value)]);
        assert!(
            lines[0].contains("cannot be combined: use only one"),
            "{lines:?}"
        );
    }
}

/// Whatever is in a file, reading it ends, and no message has a secret of it.
#[test]
fn mutated_files_are_read_or_refused() {
    let file = File::new("");
    let path = file.path();
    let read = |content: &[u8]| {
        std::fs::write(&path, content).unwrap();
        if let Err(error) = file.resolve_with(&[]) {
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    };

    for content in [CLAUDE_DESKTOP, CURSOR, VS_CODE] {
        for end in (0..content.len()).step_by(7) {
            read(&content.as_bytes()[..end]);
        }
        for place in (0..content.len()).step_by(11) {
            for other in [b'"', b'{', b']', b',', b'$', b'\\', 0, 0xff] {
                let mut mutated = content.as_bytes().to_vec();
                mutated[place] = other;
                read(&mutated);
            }
        }
    }
}
