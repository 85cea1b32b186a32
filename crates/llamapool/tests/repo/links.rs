//! Relative links of all documents lead to files that exist.

use std::path::{Path, PathBuf};

use crate::document::root;

/// Folders with documents, beside the root itself.
const FOLDERS: [&str; 2] = ["docs", "examples"];

/// Returns the paths of all Markdown documents of the repository.
fn documents() -> Vec<PathBuf> {
    let is_document = |path: &PathBuf| path.extension().is_some_and(|end| end == "md");
    let mut found: Vec<PathBuf> = entries(&root()).filter(|path| path.is_file()).collect();

    let mut folders: Vec<PathBuf> = FOLDERS.map(|name| root().join(name)).into();
    while let Some(folder) = folders.pop() {
        let (below, files): (Vec<_>, Vec<_>) = entries(&folder).partition(|path| path.is_dir());
        folders.extend(below);
        found.extend(files);
    }

    found.retain(is_document);
    found
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = std::fs::read_dir(folder).expect("the folder can be read");
    entries.map(|entry| entry.expect("the folder can be read").path())
}

/// Returns the targets of a document's links, without those inside code blocks.
fn targets(document: &str) -> Vec<&str> {
    let outside_of_code = document.split("\n```").step_by(2);

    outside_of_code
        .flat_map(|text| text.split("](").skip(1))
        .filter_map(|rest| rest.split(')').next())
        .collect()
}

/// Returns the anchors of a document, as GitHub makes them of its headings.
fn anchors(document: &str) -> Vec<String> {
    let headings = document.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| anchor(line.trim_start_matches('#').trim()))
        .collect()
}

fn anchor(heading: &str) -> String {
    heading
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| {
            if c == ' ' {
                '-'
            } else {
                c.to_ascii_lowercase()
            }
        })
        .collect()
}

#[test]
fn relative_links_lead_to_files_and_headings() {
    let documents = documents();
    for name in [
        "README.md",
        "ARCHITECTURE.md",
        "docs/README.md",
        "docs/design/0001-tunnel.md",
    ] {
        assert!(documents.contains(&root().join(name)), "{name} is missing");
    }

    let mut followed = 0;
    let mut broken = Vec::new();
    for document in documents {
        let text = std::fs::read_to_string(&document).unwrap();
        let relative = targets(&text)
            .into_iter()
            .filter(|target| !target.contains("://"));
        for target in relative {
            followed += 1;
            if !leads_somewhere(&document, target) {
                broken.push(format!("{} links to {target}", document.display()));
            }
        }
    }

    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert!(followed > 50, "only {followed} links were found");
}

/// Returns whether a link's file exists and has the heading that the link names.
fn leads_somewhere(document: &Path, target: &str) -> bool {
    let (file, heading) = target.split_once('#').unwrap_or((target, ""));
    let path = match file {
        "" => document.to_owned(),
        file => document.parent().unwrap_or(Path::new("")).join(file),
    };

    if heading.is_empty() {
        return path.exists();
    }
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    anchors(&text).iter().any(|anchor| anchor == heading)
}

#[test]
fn documents_for_readers_keep_their_size() {
    for (name, most) in [("README.md", 180), ("ARCHITECTURE.md", 250)] {
        let lines = crate::document::read(name).lines().count();
        assert!(
            lines <= most,
            "{name} has {lines} lines, expected at most {most}"
        );
    }
}
