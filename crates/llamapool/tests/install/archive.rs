//! The archive, and what is published with it: the formula, the bill of materials, the chart.

use serde_json::Value;

use crate::artifacts::{artifact, folder};
use crate::place::{Place, assert_is_this_version, run};
use crate::shells::{assert_completes, assert_renders};

#[test]
fn the_archive_has_all_that_belongs_to_the_program() {
    let place = Place::new();
    let archive = artifact("", "llamapool-", ".tar.gz");
    run(place
        .command("tar")
        .args(["--strip-components=1", "-xzf"])
        .arg(&archive));

    assert_is_this_version(&place, &place.path("llamapool"));
    assert_renders(&place.path("man/man1/llamapool-mcp.1"), "llamapool-mcp");
    assert_completes(&place.path("completions/bash/llamapool"));
    assert!(
        place
            .path("systemd/system/llamapool-server.service")
            .exists()
    );

    let sums = std::fs::read_to_string(folder().join("SHA256SUMS")).unwrap();
    let digest = run(place.command("sha256sum").arg(&archive));
    let digest = digest.split(' ').next().unwrap();
    let formula = std::fs::read_to_string(folder().join("llamapool.rb")).unwrap();
    assert!(sums.contains(digest), "{sums}");
    assert!(formula.contains(digest), "{formula}");
    run(place
        .command("ruby")
        .arg("-c")
        .arg(folder().join("llamapool.rb")));
}

#[test]
fn the_bill_of_materials_has_what_is_linked_alone() {
    let path = artifact("", "llamapool-", ".cdx.json");
    let bill: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let components = bill["components"].as_array().unwrap();
    let find = |name: &str| components.iter().find(|it| it["name"] == name);

    let tokio = find("tokio").expect("tokio is linked");
    assert_eq!(tokio["licenses"][0]["expression"], "MIT");
    assert_eq!(tokio["hashes"][0]["content"].as_str().unwrap().len(), 64);
    assert!(find("llamapool-server").is_some());
    assert!(find("insta").is_none() && find("llamapool-testkit").is_none());
    assert_eq!(bill["metadata"]["component"]["name"], "llamapool");
}
