//! Edits of files as people have them.

use super::*;

fn place(asks: Asks) -> Place {
    Place {
        url: "https://pool.example/api/mcp/id/notes".to_owned(),
        name: "notes".to_owned(),
        asks,
    }
}

/// Returns the lines that an edit adds; all others must be there as before.
fn added(before: &str, after: &str) -> Vec<String> {
    let mut rest = after.lines();
    let mut added = Vec::new();
    for line in before.lines() {
        loop {
            let next = rest
                .next()
                .unwrap_or_else(|| panic!("{line:?} is gone in\n{after}"));
            // A comma may follow what was the last member.
            if next == line || next == format!("{line},") {
                break;
            }
            added.push(next.to_owned());
        }
    }
    added.extend(rest.map(str::to_owned));
    added
}

#[test]
fn an_edit_keeps_comments_order_and_everything_else() {
    let before = "// mine\r\n{\r\n\t\"mcpServers\": {\r\n\t\t/* the clock */ \"clock\": { \"command\": \"npx\", \"args\": [\"-y\", \"x\"] }, // keep\r\n\t},\r\n\t\"theme\" : \"dark\"\r\n}\r\n";

    let after = CURSOR.edited(before, &place(Asks::Key)).unwrap();

    for line in before.lines() {
        assert!(
            after.contains(line.trim_end_matches(',')),
            "{line:?} in {after}"
        );
    }
    let read: Value = jsonc_parser::parse_to_serde_value(&after, &Default::default()).unwrap();
    let entry = &read["mcpServers"]["notes"];
    assert_eq!(entry["url"], "https://pool.example/api/mcp/id/notes");
    assert_eq!(
        entry["headers"]["Authorization"],
        "Bearer ${env:NOTES_TOKEN}"
    );
    assert_eq!(read["mcpServers"]["clock"]["args"][1], "x");
}

#[test]
fn an_edit_twice_is_an_edit_once() {
    for file in [CURSOR, VSCODE, CLAUDE_CODE, GEMINI, CODEX] {
        for asks in [Asks::Nothing, Asks::Key, Asks::SignIn] {
            let once = file.edited("", &place(asks)).unwrap();

            let twice = file.edited(&once, &place(asks)).unwrap();

            assert_eq!(once, twice, "{}", file.shown);
        }
    }
}

#[test]
fn an_entry_of_the_same_name_is_replaced_and_no_other() {
    let before = "{\n  \"servers\": {\n    \"notes\": { \"url\": \"old\" },\n    \"wiki\": { \"url\": \"other\" }\n  }\n}\n";

    let after = VSCODE.edited(before, &place(Asks::Nothing)).unwrap();

    assert!(!after.contains("old"), "{after}");
    assert!(
        after.contains("    \"wiki\": { \"url\": \"other\" }\n"),
        "{after}"
    );
}

#[test]
fn vs_code_asks_for_the_key_by_an_input() {
    let text = VSCODE.edited("", &place(Asks::Key)).unwrap();

    let read: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(read["inputs"][0]["id"], "notes-token");
    assert_eq!(read["inputs"][0]["password"], true);
    let header = &read["servers"]["notes"]["headers"]["Authorization"];
    assert_eq!(header, "Bearer ${input:notes-token}");
}

#[test]
fn the_file_of_codex_keeps_its_comments() {
    let before = "# my settings\nmodel = \"o9\" # fast\n\n[mcp_servers.clock]\ncommand = \"npx\"\n\n[profiles.x]\nmodel = \"o1\"\n";

    let after = CODEX.edited(before, &place(Asks::Key)).unwrap();

    let added = added(before, &after);
    let added: Vec<_> = added.iter().filter(|line| !line.is_empty()).collect();
    let expected = [
        "[mcp_servers.notes]",
        "url = \"https://pool.example/api/mcp/id/notes\"",
        "bearer_token_env_var = \"NOTES_TOKEN\"",
    ];
    assert_eq!(added, expected, "{after}");
}

/// A client would not read it either, so nothing is made worse.
#[test]
fn a_file_that_cannot_be_parsed_is_left_alone() {
    for (file, text) in [
        (CURSOR, "{ \"mcpServers\": { }"),
        (CURSOR, "{ mcpServers: {} }"),
        (CURSOR, "[]"),
        (CURSOR, "{ \"mcpServers\": [] }"),
        (VSCODE, "{ \"inputs\": {} }"),
        (CODEX, "mcp_servers = 1\n"),
        (CODEX, "model = \n"),
    ] {
        let error = file.edited(text, &place(Asks::Key)).unwrap_err();
        assert!(!error.to_string().is_empty(), "{text}");
    }
    let error = CODEX
        .edited("a = 1\nmodel = \n", &place(Asks::Key))
        .unwrap_err();
    assert!(
        matches!(error, EditError::Syntax { line: 2, .. }),
        "{error:?}"
    );
}
