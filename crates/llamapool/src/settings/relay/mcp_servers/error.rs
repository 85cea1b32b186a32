//! Errors of a file of MCP servers, in words for the person who wrote it.
//!
//! A text contains names and keys of the file, escaped and cut, and never a value: values are
//! commands, URLs and keys.

use std::fmt;
use std::path::{Path, PathBuf};

use llamapool_settings::{Line, OnLine};

use super::document::MAX_ENTRIES;
use super::text::MAX_FILE_BYTES;

/// The longest name that is shown whole, in characters.
const MAX_SHOWN_CHARS: usize = 80;

/// A problem of a file of MCP servers, with its place.
#[derive(Debug, thiserror::Error)]
#[error("{}the file {file:?}{}: {problem}", OfServer(server.as_deref()), OnLine(*line))]
pub struct ServersFileError {
    /// The file.
    pub file: PathBuf,
    /// The line; `None` if the problem is the file's as a whole.
    pub line: Option<Line>,
    /// The name of the server; `None` outside of the servers.
    pub server: Option<String>,
    /// The problem.
    pub problem: McpServersError,
}

/// A reason why a file of MCP servers cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum McpServersError {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(std::io::Error),
    /// It is a directory, a pipe or a device.
    #[error("is no regular file")]
    NoRegularFile,
    /// It has more bytes than are read.
    #[error("has more than {} KiB, expected a file of MCP servers", MAX_FILE_BYTES / 1024)]
    TooLong,
    /// It is in UTF-16 or UTF-32, as some tools of Windows write.
    #[error("is in UTF-16 or UTF-32, expected UTF-8: save it in that encoding")]
    WideCharacters,
    /// It is no text.
    #[error("is not in UTF-8")]
    NoUtf8,
    /// It is not JSON. The line is not shown: there may be a secret in it.
    #[error("is not valid JSON: {0}")]
    Syntax(String),
    /// Nothing is in it.
    #[error("is empty, expected a JSON object with mcpServers or servers")]
    Empty,
    /// It has no servers.
    #[error(
        "has no MCP servers: expected the key mcpServers, as in files of Claude Desktop and Cursor, \
         or servers, as in those of VS Code"
    )]
    NoServers,
    /// It has the servers of two dialects.
    #[error("has both mcpServers and servers: expected one of them")]
    TwoDialects,
    /// It has more servers than are read.
    #[error("has {0} MCP servers, expected at most {MAX_ENTRIES}")]
    TooManyEntries(usize),
    /// All its servers are disabled, or it has none.
    #[error("has no MCP server that is not disabled")]
    NoneEnabled,
    /// A key that is there twice.
    #[error("the key {} is there twice: expected it once", Shown(.0))]
    DuplicateKey(String),
    /// A value of a type that the key cannot have.
    #[error("{}: {found}, expected {expected}", Shown(key))]
    WrongType {
        /// The key.
        key: String,
        /// The type of the value.
        found: &'static str,
        /// The expected type.
        expected: &'static str,
    },
    /// A text that no program and no header can get.
    #[error("{}: a text with a zero byte, which nothing can contain", Shown(.0))]
    ZeroByte(String),
    /// Neither a program nor a URL.
    #[error("expected command, for a program, or url")]
    NeitherKind,
    /// A program and a URL.
    #[error("command and url cannot be combined: use only one")]
    BothKinds,
    /// `url` and `serverUrl`, or `type` and `transport`.
    #[error("{0} and {1} have the same meaning: use only one")]
    SameMeaning(&'static str, &'static str),
    /// A transport that does not exist, or none of llamapool's.
    #[error("type: {}, expected stdio, http, streamable-http or sse", Shown(.0))]
    UnknownType(String),
    /// A transport that does not fit the other keys.
    #[error("type is {} and {missing} is missing", Shown(transport))]
    TypeWithout {
        /// The transport.
        transport: String,
        /// The key that belongs to it.
        missing: &'static str,
    },
    /// A variable of the environment that is not set.
    #[error(
        "{key}: the environment variable {variable} is not set: set it, or write ${{{variable}:-default}}",
        key = Shown(key)
    )]
    UnsetVariable {
        /// The key with the variable.
        key: String,
        /// The variable.
        variable: String,
    },
    /// A secret of llamapool's own that a provider would get.
    #[error(
        "{key}: the environment variable {variable} is a secret of llamapool that no provider gets",
        key = Shown(key)
    )]
    SecretVariable {
        /// The key with the variable.
        key: String,
        /// The variable.
        variable: String,
    },
    /// A value that an editor asks for.
    #[error(
        "{}: the editor asks for the value of {}, which a relay cannot: write ${{env:NAME}} in its \
         place and set that environment variable",
        Shown(key),
        Shown(input)
    )]
    Input {
        /// The key with the variable.
        key: String,
        /// The variable as it is written.
        input: String,
    },
    /// A value of an editor.
    #[error(
        "{}: {} has a value in the editor alone: write the value in its place",
        Shown(key),
        Shown(variable)
    )]
    EditorVariable {
        /// The key with the variable.
        key: String,
        /// The variable as it is written.
        variable: String,
    },
    /// A file of environment variables that cannot be used.
    #[error("envFile: {0}")]
    EnvFile(String),
    /// A name of which no id can be made.
    #[error("the name has no letter and no digit of ASCII: an id is made of it")]
    NoId,
    /// A name of which the id would be too long.
    #[error("the id that is made of the name would have {0} characters, expected at most 128")]
    LongId(usize),
    /// Two names of which the same id is made.
    #[error(
        "the id {id} is also made of the name of the server {}: rename one",
        Shown(other)
    )]
    SameId {
        /// The id.
        id: String,
        /// The name of the other server.
        other: String,
    },
    /// More problems than are shown.
    #[error("{0} more errors")]
    More(usize),
}

impl ServersFileError {
    /// Returns the error of a file as a whole.
    pub(super) fn of_file(file: &Path, problem: McpServersError) -> Self {
        Self {
            file: file.to_owned(),
            line: None,
            server: None,
            problem,
        }
    }
}

/// The beginning of an error that names a server.
struct OfServer<'a>(Option<&'a str>);

impl fmt::Display for OfServer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(f, "server {} of ", Shown(name)),
            None => Ok(()),
        }
    }
}

/// A word of the file, cut, and with control characters escaped.
pub(super) struct Shown<'a>(pub(super) &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(MAX_SHOWN_CHARS) {
            Some((end, _)) => write!(f, "{:?}…", &self.0[..end]),
            None => write!(f, "{:?}", self.0),
        }
    }
}
