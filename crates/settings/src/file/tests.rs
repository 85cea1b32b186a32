//! Files as people write them.

use super::*;
use crate::example::{
    BUFFER_BYTES, DIRECTORY, ITEM_COMMAND, ITEM_HEADERS, ITEM_TOKEN, KEY, LIMIT, RETRY, SCHEMA,
    SMALL_SCHEMA, TIMEOUT, VARIABLES,
};

/// Returns the file, or the first of its problems.
fn parse_with(schema: &Schema, text: &str) -> Result<SettingsFile, SettingsError> {
    let mut problems = Vec::new();
    let reading = Reading {
        schema,
        path: Path::new("app.toml"),
        environment: &[("HOME", "/home/me")].into_iter().collect(),
        problems: &mut problems,
    };
    let file = reading.parse(text);
    problems.into_iter().next().map_or(Ok(file), Err)
}

fn parse_text(text: &str) -> Result<SettingsFile, SettingsError> {
    parse_with(&SCHEMA, text)
}

fn error(text: &str) -> String {
    parse_text(text).map(|_| ()).unwrap_err().to_string()
}

fn text_in<'a>(file: &'a SettingsFile, setting: &Setting) -> &'a str {
    &file.layer.get(setting).unwrap().text
}

#[test]
fn values_can_have_the_toml_type_that_fits() {
    let file = parse_text(
        "timeout = 2.5\nlimit = 3\nbuffer_bytes = '64KiB'\nretry = true\nold_key = 'k'\n\
         item_command = ['run', 'a b']\n[item_headers]\nX-A = 'b'\nX-C = 'd'",
    )
    .unwrap();

    assert_eq!(text_in(&file, &TIMEOUT.setting), "2.5");
    assert_eq!(text_in(&file, &LIMIT.setting), "3");
    assert_eq!(text_in(&file, &BUFFER_BYTES.setting), "64KiB");
    assert_eq!(text_in(&file, &RETRY.setting), "true");
    assert_eq!(text_in(&file, &KEY.setting), "k");
    assert_eq!(text_in(&file, &ITEM_COMMAND.setting), "run 'a b'");
    assert_eq!(text_in(&file, &ITEM_HEADERS.setting), "X-A: b\nX-C: d");
}

#[test]
fn headers_can_be_an_array_of_lines() {
    let file = parse_text("item_headers = ['a: b', 'c: d']").unwrap();

    assert_eq!(text_in(&file, &ITEM_HEADERS.setting), "a: b\nc: d");
}

#[test]
fn variables_are_a_table_or_an_array_whose_items_keep_commas() {
    for text in [
        "variables = { A = 'b,c' }",
        "variables = ['A=b,c']",
        "[variables]\nA = 'b,c'",
    ] {
        let file = parse_text(text).unwrap();
        let parsed = (VARIABLES.value_type.parse)(text_in(&file, &VARIABLES.setting)).unwrap();

        assert_eq!(parsed.len(), 1, "{text}");
        assert_eq!(parsed[0].value.as_deref(), Some("b,c"), "{text}");
    }
    assert!(error("variables = { A = 1 }").contains("a table of names and strings"));
    assert!(error("variables = { 'A=B' = 'c' }").contains("a table of names and strings"));
    assert!(error("variables = { 'A,B' = 'c' }").contains("a table of names and strings"));
    assert!(error("variables = [\"A=\\u0000\"]").contains("an array, expected"));
}

/// A line end in a table's value would begin another header.
#[test]
fn a_header_in_a_table_has_one_line() {
    let text = error("[item_headers]\nX-A = \"b\\nX-C: d\"");

    assert!(text.contains("a table of strings in one line"), "{text}");
}

#[test]
fn everything_that_is_wrong_is_a_problem_of_its_own() {
    let mut problems = Vec::new();
    let reading = Reading {
        schema: &SCHEMA,
        path: Path::new("app.toml"),
        environment: &Environment::default(),
        problems: &mut problems,
    };
    let text = "lmit = 1\nretry = 1\nxyzzy = 2\nkey = 'good'\n\
                [[item]]\nulr = 'a'\ntoken = 5\n[[item]]\nheader = 'b'";

    let file = reading.parse(text);

    let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(shown.len(), 6, "{shown:#?}");
    for key in ["ulr", "token", "header", "lmit", "retry", "xyzzy"] {
        let names = |line: &&String| line.contains(key);
        assert_eq!(shown.iter().filter(names).count(), 1, "{key}: {shown:#?}");
    }
    assert_eq!(file.entries.len(), 2);
    assert_eq!(text_in(&file, &KEY.setting), "good");
}

#[test]
fn a_secret_can_be_the_content_of_a_file() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "hunter2\n").unwrap();
    let path = secret.path().display();

    for key in ["key_file", "old_key_file"] {
        let file = parse_text(&format!("{key} = '{path}'")).unwrap();
        assert_eq!(text_in(&file, &KEY.setting), "hunter2");
    }
    let entry = parse_text(&format!("[item]\ntoken_file = '{path}'")).unwrap();
    let token = entry.entries[0].layer.get(&ITEM_TOKEN.setting).unwrap();
    assert_eq!(token.text, "hunter2");
    assert!(error("key_file = '/no/such/file'").contains("key key_file of the file \"app.toml\""));
    assert!(error("key_file = 1").contains("the path of a file"));
    assert!(error("limit_file = 'x'").starts_with("unknown key"));
}

#[test]
fn a_path_below_the_home_directory_is_whole() {
    let file = parse_text("directory = '~/notes'\n").unwrap();

    assert_eq!(text_in(&file, &DIRECTORY.setting), "/home/me/notes");
}

#[test]
fn other_toml_types_are_refused_without_showing_values() {
    for (bad, reason) in [
        ("key = 4711", "an integer, expected a string"),
        ("retry = 4711", "an integer, expected a boolean"),
        (
            "timeout = [4711]",
            "an array, expected a string or a number",
        ),
        ("timeout = true", "a boolean"),
        (
            "buffer_bytes = 4711.0",
            "a float, expected a string or an integer",
        ),
        (
            "item_headers = ['a: b', 4711]",
            "an array, expected a table of strings",
        ),
        (
            "item_headers = { a = 4711 }",
            "a table, expected a table of strings",
        ),
        ("item_url = 2026-01-01", "a date"),
    ] {
        let text = error(bad);

        assert!(text.contains(reason), "{text}");
        assert!(text.contains("app.toml"), "{text}");
        assert!(!text.contains("4711"), "{text}");
    }
}

#[test]
fn an_unknown_key_is_named_with_a_suggestion() {
    assert_eq!(
        error("item_ulr = 'http://x'"),
        "unknown key \"item_ulr\" in the file \"app.toml\", line 1, did you mean item_url?"
    );
    assert_eq!(
        error("xyzzy = 1"),
        "unknown key \"xyzzy\" in the file \"app.toml\", line 1"
    );
    assert!(error("ITEM_URL = 'http://x'").ends_with("did you mean item_url?"));
    assert!(error("[[items]]\nurl = 'http://x'").ends_with("did you mean item?"));
}

#[test]
fn the_file_cannot_name_another_file() {
    assert!(error("config_file = 'other.toml'").starts_with("unknown key"));
}

#[test]
fn a_schema_without_entries_has_no_entry_tables() {
    let result = parse_with(&SMALL_SCHEMA, "[item]\nurl = 'x'");

    let text = result.map(|_| ()).unwrap_err().to_string();
    assert!(
        text.starts_with("unknown key \"item\" in the file"),
        "{text}"
    );
}

#[test]
fn an_unknown_key_of_an_entry_suggests_one_of_its_table() {
    let with_key = |key: &str| {
        error(&format!(
            "[[item]]\nurl = 'http://a'\n[[item]]\n{key} = 'x'"
        ))
    };

    assert_eq!(
        with_key("ulr"),
        "unknown key \"ulr\" in item 2 of the file \"app.toml\", line 4, did you mean url?"
    );
    for (unknown, suggested) in [
        ("item_url", "url"),
        ("tokn", "token"),
        ("header", "headers"),
        ("item_header", "headers"),
    ] {
        let text = with_key(unknown);
        assert!(
            text.ends_with(&format!("did you mean {suggested}?")),
            "{text}"
        );
    }
    assert_eq!(
        with_key("limit"),
        "unknown key \"limit\" in item 2 of the file \"app.toml\", line 4"
    );
    assert!(error("[item]\nxyzzy = 1").starts_with("unknown key \"xyzzy\" in item of the file"));
}

#[test]
fn entries_are_tables() {
    for (bad, reason) in [
        ("item = 'hunter2'", "a string"),
        ("item = []", "an array"),
        ("item = ['hunter2']", "a string"),
        ("item = [{ url = 'http://x' }, 4711]", "an integer"),
    ] {
        let text = error(bad);

        let start = "invalid item (key item of the file \"app.toml\", line 1): ";
        assert!(text.starts_with(&format!("{start}{reason}")), "{text}");
        assert!(text.contains("[[item]]"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn a_wrong_value_of_an_entry_is_named_with_its_table() {
    assert_eq!(
        error("[[item]]\nurl = 4711"),
        "invalid ITEM_URL (key url of item 1 of the file \"app.toml\", line 2): \
         an integer, expected a string"
    );
}

#[test]
fn invalid_toml_is_refused_without_showing_the_line() {
    for bad in [
        "\nkey = 'hunter2",
        "\nkey = hunter2",
        "\nkey 'hunter2'",
        "\nkey = 'hunter2' 'hunter2'",
        "\nkey = \"hunter2\\q\"",
    ] {
        let text = error(bad);

        let start = "the file \"app.toml\" is not valid TOML, line 2: ";
        assert!(text.starts_with(start), "{text}");
        assert!(!text.contains("hunter2") && !text.contains('\n'), "{text}");
    }
}

#[test]
fn two_names_of_one_setting_must_agree() {
    assert!(parse_text("key = 'a'\nold_key = 'a'").is_ok());

    let text = error("key = 'hunter2'\nold_key = 'hunter3'");
    assert!(text.contains("key key of"), "{text}");
    assert!(text.contains("key old_key of"), "{text}");
    assert!(!text.contains("hunter"), "{text}");
}
