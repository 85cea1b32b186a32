//! The commands of docs/guides/administration.md, by the curl of this machine. The one rule: the id of
//! the key that the first one makes stands in place of the one in the guide.

use serde_json::Value;

use crate::harness::{Pool, soon};
use crate::parts::root;
use crate::shell::{bash, blocks};

/// The id of the key in the guide.
const ID: &str = "7k3xq2mbdrta";

#[tokio::test]
async fn the_commands_of_the_guide_do_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().to_str().unwrap();
    let pool = Pool::with(&[("DATA_DIR", data_dir)]).await;
    let guide = std::fs::read_to_string(root().join("docs/guides/administration.md")).unwrap();
    let commands = blocks(&guide).into_iter();
    let commands: Vec<_> = commands.filter(|it| it.starts_with("curl ")).collect();
    assert!(commands.len() >= 9, "{commands:?}");

    let mut id = ID.to_owned();
    let mut answers = Vec::new();
    for command in commands {
        let mut shell = bash(&command.replace(ID, &id));
        shell
            .env("SERVER", &pool.url)
            .env("ADMIN_KEY", crate::harness::API_KEY);
        let output = soon("the command ends", shell.output()).await.unwrap();
        let answer: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{command}\n{error}: {output:?}"));
        assert_eq!(answer.get("error"), None, "{command}\n{answer}");
        if let Some(created) = answer["key"].as_str().and(answer["id"].as_str()) {
            id = created.to_owned();
        }
        answers.push(answer);
    }

    let revoked = answers
        .iter()
        .filter(|answer| answer["status"] == "revoked");
    assert_eq!(revoked.count(), 1, "{answers:?}");
    let rules = answers.iter().find_map(|answer| answer["rules"].as_array());
    assert_eq!(rules.unwrap()[0]["pattern"], "team-*", "{answers:?}");
}
