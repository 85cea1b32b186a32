//! The wheel, with pip and with uv.

use crate::artifacts::artifact;
use crate::demo;
use crate::place::{Place, assert_is_this_version, run};
use crate::shells::{assert_completes, assert_renders};

const UV: &str = "uv-0.13.9/bin/uv";

fn wheel() -> std::path::PathBuf {
    artifact("wheel", "llamapool-", ".whl")
}

#[test]
fn pip_installs_the_wheel_and_removes_it() {
    let place = Place::new();
    run(place
        .command("/usr/bin/python3")
        .args(["-m", "venv", "venv"]));
    let before = place.files("venv");
    let pip = || {
        let mut pip = place.command(place.path("venv/bin/python"));
        pip.args(["-B", "-m", "pip"]);
        pip
    };

    run(pip()
        .args(["install", "--no-index", "--no-compile"])
        .arg(wheel()));

    assert_is_this_version(&place, &place.path("venv/bin/llamapool"));
    assert_renders(
        &place.path("venv/share/man/man1/llamapool-mcp.1"),
        "llamapool-mcp",
    );
    assert_completes(&place.path("venv/share/bash-completion/completions/llamapool"));

    run(pip().args(["uninstall", "--yes", "llamapool"]));

    let is_cache = |path: &std::path::PathBuf| path.to_string_lossy().contains("__pycache__");
    let left: Vec<_> = place
        .files("venv")
        .into_iter()
        .filter(|path| !is_cache(path) && !before.contains(path))
        .collect();
    assert_eq!(left, Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn uvx_runs_the_demo_and_passes_signals_on() {
    let place = Place::new();
    let parts = std::env::var_os("LLAMAPOOL_PARTS").expect("LLAMAPOOL_PARTS, which ./test sets");

    let mut uvx = place.command(std::path::Path::new(&parts).join(UV));
    uvx.args(["tool", "run", "--offline", "--from"])
        .arg(wheel())
        .args(["llamapool", "demo", "--port", "0"]);
    demo::answers_and_ends("uvx llamapool demo", uvx, "INT").await;
}
