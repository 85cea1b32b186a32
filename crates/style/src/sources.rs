//! Finds the packages of a checkout and reads each of their files once.
//!
//! A file belongs to the package of the nearest `Cargo.toml` above it. Build output and hidden
//! folders are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::ops::Range;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::comments::{self, Comment};
use crate::functions::{self, Function};
use crate::names::{self, Names};
use crate::prose::{self, Prose};

/// The measures of one package: everything that the table is computed from.
#[derive(Default)]
pub struct Package {
    /// The name in the manifest, without the prefix that all of ours share.
    pub name: String,
    pub(crate) prose: Prose,
    pub(crate) code: Vec<Function>,
    pub(crate) tests: Vec<Function>,
    pub(crate) files: Vec<FileSize>,
    pub(crate) names: Names,
}

/// The size of one file that is not test code.
pub(crate) struct FileSize {
    pub(crate) path: String,
    /// Lines without those of `#[cfg(test)]` items.
    pub(crate) lines: usize,
    /// True when the file opens with `//!`.
    pub(crate) has_module_doc: bool,
}

/// One parsed source file.
pub(crate) struct Source {
    /// The path below the root of the checkout.
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) tokens: Vec<Token>,
    pub(crate) comments: Vec<Comment>,
    pub(crate) syntax: syn::File,
    is_test: bool,
    test_items: Vec<TestItem>,
}

/// A token without children; a delimiter counts as one.
pub(crate) struct Token {
    pub(crate) at: Range<usize>,
    pub(crate) line: usize,
    pub(crate) text: String,
}

/// An item under `#[cfg(test)]`.
struct TestItem {
    at: Range<usize>,
    lines: usize,
    /// The name, when the item is a module in a file of its own.
    module: Option<String>,
}

impl Source {
    pub(crate) fn parse(path: String, text: String) -> Result<Source, Box<dyn Error>> {
        let stream: TokenStream = text
            .parse()
            .map_err(|error| format!("{path} has no valid tokens: {error}"))?;
        let mut tokens = Vec::new();
        flatten(&stream, &text, &mut tokens);
        let mut test_items = Vec::new();
        find_test_items(&stream, &mut test_items);
        let comments = comments::find(&stream, &text);
        let syntax =
            syn::parse2(stream).map_err(|error| format!("{path} has no valid syntax: {error}"))?;

        Ok(Source {
            is_test: is_test_path(&path),
            path,
            text,
            tokens,
            comments,
            syntax,
            test_items,
        })
    }

    /// Returns true when the byte is in test code.
    pub(crate) fn is_test_at(&self, byte: usize) -> bool {
        self.is_test || self.test_items.iter().any(|item| item.at.contains(&byte))
    }

    fn size(&self) -> FileSize {
        let all = self.text.lines().count();
        let test: usize = self.test_items.iter().map(|item| item.lines).sum();
        FileSize {
            path: self.path.clone(),
            lines: all.saturating_sub(test),
            has_module_doc: self.text.starts_with("//!"),
        }
    }
}

/// Reads all packages below the root, sorted by path.
///
/// # Errors
///
/// Returns the first file that cannot be read or parsed.
pub fn find_packages(root: &Path) -> Result<Vec<Package>, Box<dyn Error>> {
    let mut files = Vec::new();
    list_sources(root, &mut files)?;
    let mut by_manifest: BTreeMap<PathBuf, Vec<Source>> = BTreeMap::new();
    for file in files {
        let Some(manifest) = manifest_of(&file, root) else {
            continue;
        };
        let path = file.strip_prefix(root)?.display().to_string();
        let source = Source::parse(path, std::fs::read_to_string(&file)?)?;
        by_manifest.entry(manifest).or_default().push(source);
    }

    by_manifest
        .into_iter()
        .map(|(manifest, sources)| Ok(measure(package_name(&manifest)?, sources)))
        .collect()
}

fn measure(name: String, mut sources: Vec<Source>) -> Package {
    mark_test_files(&mut sources);
    let mut package = Package {
        name,
        ..Package::default()
    };
    for source in &sources {
        prose::count(source, &mut package.prose);
        names::collect(source, &mut package.names);
        let (tests, code) = functions::find(source)
            .into_iter()
            .partition(|function: &Function| function.is_test);
        package.code.extend::<Vec<_>>(code);
        package.tests.extend::<Vec<_>>(tests);
        if !source.is_test {
            package.files.push(source.size());
        }
    }
    package
}

/// Marks the files of modules that are declared under `#[cfg(test)]`.
fn mark_test_files(sources: &mut [Source]) {
    let mut test_modules = BTreeSet::new();
    for source in sources.iter() {
        let path = Path::new(&source.path);
        let is_root = ["lib.rs", "main.rs", "mod.rs"]
            .iter()
            .any(|name| path.ends_with(name));
        let folder = if is_root {
            path.parent().unwrap_or(path).to_owned()
        } else {
            path.with_extension("")
        };
        let modules = source
            .test_items
            .iter()
            .filter_map(|item| item.module.as_ref());
        test_modules.extend(modules.map(|module| folder.join(module)));
    }

    for source in sources {
        let path = Path::new(&source.path).with_extension("");
        source.is_test |= test_modules.iter().any(|module| path.starts_with(module));
    }
}

fn is_test_path(path: &str) -> bool {
    let path = Path::new(path);
    let folders = ["tests", "benches", "testing", "fuzz_targets"];
    path.file_name()
        .is_some_and(|name| name == "tests.rs" || name == "fuzzing.rs")
        || path
            .components()
            .any(|part| folders.iter().any(|folder| part.as_os_str() == *folder))
}

fn list_sources(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    let mut entries = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::path);
    for entry in entries {
        let path = entry.path();
        let name = entry.file_name();
        let is_left_out = name == "target" || name.to_string_lossy().starts_with('.');
        if path.is_dir() && !is_left_out {
            list_sources(&path, found)?;
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

fn manifest_of(file: &Path, root: &Path) -> Option<PathBuf> {
    file.ancestors()
        .skip(1)
        .take_while(|folder| folder.starts_with(root))
        .map(|folder| folder.join("Cargo.toml"))
        .find(|manifest| manifest.exists())
}

fn package_name(manifest: &Path) -> Result<String, Box<dyn Error>> {
    let text = std::fs::read_to_string(manifest)?;
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix("name = \""))
        .and_then(|rest| rest.split('"').next())
        .ok_or_else(|| format!("{} has no package name", manifest.display()))?;
    Ok(name.strip_prefix("llamapool-").unwrap_or(name).to_owned())
}

// --- Tokens ---

fn flatten(stream: &TokenStream, text: &str, tokens: &mut Vec<Token>) {
    for tree in stream.clone() {
        if comments::is_doc(&tree, text) {
            continue;
        }
        let mut push = |span: proc_macro2::Span, text: String| {
            tokens.push(Token {
                at: span.byte_range(),
                line: span.start().line,
                text,
            });
        };
        match tree {
            TokenTree::Group(group) => {
                push(group.span_open(), "(".to_owned());
                flatten(&group.stream(), text, tokens);
                tokens.push(Token {
                    at: group.span_close().byte_range(),
                    line: group.span_close().start().line,
                    text: ")".to_owned(),
                });
            }
            other => push(other.span(), other.to_string()),
        }
    }
}

fn find_test_items(stream: &TokenStream, found: &mut Vec<TestItem>) {
    let trees: Vec<TokenTree> = stream.clone().into_iter().collect();
    let mut next = 0;
    while next < trees.len() {
        let is_test = is_punct(&trees[next], '#') && trees.get(next + 1).is_some_and(is_cfg_test);
        if !is_test {
            if let TokenTree::Group(group) = &trees[next] {
                find_test_items(&group.stream(), found);
            }
            next += 1;
            continue;
        }

        let last = item_end(&trees, next + 2);
        let first_span = trees[next].span();
        let last_span = trees[last].span();
        found.push(TestItem {
            at: first_span.byte_range().start..last_span.byte_range().end,
            lines: last_span.end().line + 1 - first_span.start().line,
            module: module_name(&trees[next + 2..=last]),
        });
        next = last + 1;
    }
}

/// Returns the index of the last tree of the item that starts at `first`.
fn item_end(trees: &[TokenTree], first: usize) -> usize {
    let is_end = |tree: &TokenTree| {
        is_punct(tree, ';')
            || matches!(tree, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
    };
    let last = trees.len() - 1;
    (first.min(last)..last)
        .find(|&index| is_end(&trees[index]))
        .unwrap_or(last)
}

/// Returns the name of a module without a body: `mod name;`.
fn module_name(item: &[TokenTree]) -> Option<String> {
    let [.., TokenTree::Ident(keyword), TokenTree::Ident(name), end] = item else {
        return None;
    };
    (keyword == "mod" && is_punct(end, ';')).then(|| name.to_string())
}

fn is_punct(tree: &TokenTree, wanted: char) -> bool {
    matches!(tree, TokenTree::Punct(punct) if punct.as_char() == wanted)
}

/// Returns true for the group of `[cfg(test)]` and of conditions that contain `test`.
fn is_cfg_test(tree: &TokenTree) -> bool {
    let text = tree.to_string().replace(char::is_whitespace, "");
    let Some(condition) = text.strip_prefix("[cfg(") else {
        return false;
    };
    condition.split([',', '(', ')']).any(|word| word == "test") && !condition.contains("not(test")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_under_cfg_test_are_test_code() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n";

        let source = Source::parse("src/x.rs".into(), text.into()).unwrap();

        let is_test = |name| source.is_test_at(text.find(name).unwrap());
        assert!(!is_test("fn a"));
        assert!(is_test("fn b"));
        assert!(!is_test("fn c"));
        assert_eq!(source.size().lines, 2);
    }

    #[test]
    fn a_module_file_under_cfg_test_is_test_code() {
        let parent = "#[cfg(test)]\nmod probe;\n#[cfg(not(test))]\nmod real;\n";
        let parse = |path: &str, text: &str| Source::parse(path.into(), text.into()).unwrap();
        let mut sources = [
            parse("src/lib.rs", parent),
            parse("src/probe.rs", ""),
            parse("src/real.rs", ""),
        ];

        mark_test_files(&mut sources);

        assert_eq!(sources.map(|source| source.is_test), [false, true, false]);
    }
}
