//! Variables in the texts of a file of MCP servers: `${NAME}`, `${env:NAME}`, `${NAME:-default}` and
//! `${userHome}`, as the clients that read these files replace them.

use llamapool_settings::Sources;

use super::error::McpServersError;

/// Names that have a value in editors alone.
const OF_EDITORS: &[&str] = &[
    "workspaceFolder",
    "workspaceFolderBasename",
    "workspaceRoot",
    "file",
    "fileBasename",
    "fileDirname",
    "relativeFile",
    "lineNumber",
    "selectedText",
    "execPath",
    "cwd",
];
/// Beginnings of variables that have a value in editors alone.
const EDITOR_PREFIXES: &[&str] = &[
    "config",
    "command",
    "workspaceFolder",
    "extensionInstallFolder",
];

/// Replaces variables. A value that was put in is not searched for variables again.
pub(super) struct Variables<'a> {
    sources: &'a Sources,
}

impl<'a> Variables<'a> {
    pub(super) fn new(sources: &'a Sources) -> Self {
        Self { sources }
    }

    /// Returns a text of a key with its variables replaced. What has not the form of a variable stays
    /// as it is: it may be meant for a shell.
    ///
    /// # Errors
    ///
    /// All variables that have no value.
    pub(super) fn expand(&self, key: &str, text: &str) -> Result<String, Vec<McpServersError>> {
        let mut expanded = String::new();
        let mut problems = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            let (before, behind) = rest.split_at(start);
            expanded.push_str(before);

            let end = behind.find('}');
            let inside = end.map(|end| (&behind[2..end], &behind[end + 1..]));
            let Some((inside, after)) = inside else {
                rest = behind;
                break;
            };
            match self.value(key, inside) {
                Some(Ok(value)) => expanded.push_str(&value),
                Some(Err(problem)) => problems.push(problem),
                None => {
                    // A variable can begin within it.
                    expanded.push_str("${");
                    rest = &behind[2..];
                    continue;
                }
            }
            rest = after;
        }
        expanded.push_str(rest);

        if problems.is_empty() {
            Ok(expanded)
        } else {
            Err(problems)
        }
    }

    /// Returns the same, where a path is meant: `~` at the beginning is the home directory.
    pub(super) fn expand_path(
        &self,
        key: &str,
        text: &str,
    ) -> Result<String, Vec<McpServersError>> {
        let expanded = self.expand(key, text)?;
        // A `~` that a variable brings is not meant so.
        if text.trim_start().starts_with('~') {
            Ok(self.sources.environment().expand_home(&expanded))
        } else {
            Ok(expanded)
        }
    }

    /// Returns the value of what stands between `${` and `}`, `None` if it is no variable.
    fn value(&self, key: &str, inside: &str) -> Option<Result<String, McpServersError>> {
        match inside.split_once(':') {
            Some(("env", variable)) => self.of_environment(key, variable),
            Some(("input", _)) => Some(Err(McpServersError::Input {
                key: key.to_owned(),
                input: as_written(inside),
            })),
            Some((prefix, _)) if EDITOR_PREFIXES.contains(&prefix) => {
                Some(Err(editor(key, inside)))
            }
            _ => match inside {
                "userHome" => self.of_environment(key, "HOME"),
                "/" | "pathSeparator" => Some(Ok(std::path::MAIN_SEPARATOR.to_string())),
                name if OF_EDITORS.contains(&name) => Some(Err(editor(key, name))),
                variable => self.of_environment(key, variable),
            },
        }
    }

    /// Returns the value of `NAME` or `NAME:-default`, `None` if it has not this form.
    fn of_environment(&self, key: &str, variable: &str) -> Option<Result<String, McpServersError>> {
        let (name, default) = match variable.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (variable, None),
        };
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !is_name {
            return None;
        }

        let place = || (key.to_owned(), name.to_owned());
        if self.sources.schema().is_secret_variable(name) {
            let (key, variable) = place();
            return Some(Err(McpServersError::SecretVariable { key, variable }));
        }
        let environment = self.sources.environment();
        let value = match default {
            // As in a shell, an empty variable has the default, too.
            Some(default) => environment
                .get(name)
                .map_or(Some(default), |value| value.to_str()),
            None => environment.raw(name).and_then(|value| value.to_str()),
        };
        Some(value.map(str::to_owned).ok_or_else(|| {
            let (key, variable) = place();
            McpServersError::UnsetVariable { key, variable }
        }))
    }
}

fn editor(key: &str, variable: &str) -> McpServersError {
    McpServersError::EditorVariable {
        key: key.to_owned(),
        variable: as_written(variable),
    }
}

fn as_written(inside: &str) -> String {
    format!("${{{inside}}}")
}
