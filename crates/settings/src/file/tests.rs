//! Files as people write them.

use super::*;
use crate::example::{
    BUFFER_BYTES, ITEM_COMMAND, ITEM_HEADERS, KEY, LIMIT, RETRY, SCHEMA, SMALL_SCHEMA, TIMEOUT,
};

fn parse_text(text: &str) -> Result<SettingsFile, SettingsError> {
    parse(&SCHEMA, Path::new("app.toml"), text)
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
        "unknown key \"item_ulr\" in the file \"app.toml\", did you mean item_url?"
    );
    assert_eq!(
        error("xyzzy = 1"),
        "unknown key \"xyzzy\" in the file \"app.toml\""
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
    let result = parse(&SMALL_SCHEMA, Path::new("app.toml"), "[item]\nurl = 'x'");

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
        "unknown key \"ulr\" in item 2 of the file \"app.toml\", did you mean url?"
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
        "unknown key \"limit\" in item 2 of the file \"app.toml\""
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

        let start = "invalid item (key item of the file \"app.toml\"): ";
        assert!(text.starts_with(&format!("{start}{reason}")), "{text}");
        assert!(text.contains("[[item]]"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn a_wrong_value_of_an_entry_is_named_with_its_table() {
    assert_eq!(
        error("[[item]]\nurl = 4711"),
        "invalid ITEM_URL (key url of item 1 of the file \"app.toml\"): \
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
