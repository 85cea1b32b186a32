//! npm: the launcher finds the executable of its platform, and is what the executable is.

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use crate::artifacts::{npm_packages, root};
use crate::demo;
use crate::harness::{Process, soon};
use crate::place::{Place, assert_is_this_version, output, run};
use crate::registry::Registry;
use crate::shells::assert_renders;

/// Installs packages of files with an empty cache, no network, and no scripts.
fn install(place: &Place, packages: &[&std::path::Path]) {
    let mut npm = place.command("npm");
    npm.args(["install", "--global", "--offline", "--ignore-scripts"]);
    run(npm.arg("--prefix").arg(place.path("prefix")).args(packages));
}

#[tokio::test]
async fn npx_runs_the_demo_and_ends_it() {
    let place = Place::new();
    let registry = Registry::start().await;

    let mut npx = place.command("npx");
    npx.args(["--yes", "--registry", &registry.url])
        .args(["llamapool", "demo", "--port", "0"]);
    // The shell between npm and the launcher dies of this signal without a word. It takes no notice of SIGINT,
    // if no terminal sends it to all.
    demo::answers_and_ends("npx llamapool demo", npx, "TERM").await;
}

#[tokio::test]
async fn the_launcher_passes_signals_on() {
    let place = Place::new();
    let [launcher, platform] = npm_packages();
    install(&place, &[&launcher, &platform]);

    for signal in ["INT", "TERM"] {
        let mut command = place.command(place.path("prefix/bin/llamapool"));
        command.args(["demo", "--port", "0"]);
        demo::answers_and_ends("llamapool demo, installed by npm", command, signal).await;
    }
}

#[test]
fn packages_of_files_are_installed_run_and_removed() {
    let place = Place::new();
    let [launcher, platform] = npm_packages();
    install(&place, &[&launcher, &platform]);
    let llamapool = place.path("prefix/bin/llamapool");

    assert_is_this_version(&place, &llamapool);
    let wrong = output(place.command(&llamapool).args(["server", "--prot", "1"]));
    assert_eq!(wrong.status.code(), Some(64), "{wrong:?}");
    assert_renders(
        &place.path("prefix/share/man/man1/llamapool-mcp.1"),
        "llamapool-mcp",
    );

    let mut npm = place.command("npm");
    npm.args(["uninstall", "--global", "--offline", "--prefix"]);
    run(npm.arg(place.path("prefix")).args([
        "llamapool",
        "@llamapool/linux-x64",
        "@llamapool/linux-arm64",
    ]));

    assert_eq!(place.files("prefix"), Vec::<std::path::PathBuf>::new());
}

/// Whoever waits for the launcher learns how the executable ended.
#[tokio::test]
async fn a_signal_that_ends_the_executable_ends_the_launcher() {
    let place = Place::new();
    let [launcher, platform] = npm_packages();
    install(&place, &[&launcher, &platform]);

    let mut command = place.command(place.path("prefix/bin/llamapool"));
    command.args(["demo", "--port", "0"]);
    let mut demo = Process::start(command.into());
    demo.line("the URL", |line| demo::url_in(line).is_some())
        .await;
    let child = run(place.command("pgrep").args(["-P", &demo.id().to_string()]));
    run(place.command("kill").args(["-s", "KILL", child.trim()]));

    assert_eq!(demo.ended().await.signal(), Some(9), "{}", demo.log());
}

/// A terminal sends Ctrl-C to npm, the launcher and the executable; npm sends another one. A second one would
/// end the executable at once.
#[tokio::test]
async fn ctrl_c_in_a_terminal_arrives_once() {
    let place = Place::new();
    let [launcher, platform] = npm_packages();
    install(&place, &[&launcher, &platform]);
    let prefix = place.path("prefix");

    for words in [
        &["llamapool"][..],
        &["npm", "exec", "--offline", "--", "llamapool"],
    ] {
        let mut terminal = place.command("python3");
        terminal
            .arg(root().join("tests/parts/terminal.py"))
            .args(words)
            .args(["demo", "--port", "0"])
            .env("npm_config_prefix", &prefix)
            // The lines for people do not name the drain of an idle process.
            .env("LOG_STYLE", "full")
            .env(
                "PATH",
                format!("{}/bin:/usr/local/bin:/usr/bin:/bin", prefix.display()),
            )
            .stdin(Stdio::null());
        let mut terminal = Process::start(terminal.into());

        let ended = soon("the terminal closes", terminal.ended()).await;

        let log = terminal.log();
        // npm itself ends by the signal, once all is over.
        let by_signal = (words[0] == "npm").then_some(256 - 2);
        let expected = [Some(0), by_signal];
        assert!(
            expected.contains(&ended.code()),
            "{words:?}: {ended}: {log}"
        );
        assert!(log.contains("draining"), "{words:?}: {log}");
        assert!(!log.contains("second signal"), "{words:?}: {log}");
    }
}

#[test]
fn a_missing_package_is_named() {
    let place = Place::new();
    let [launcher, _] = npm_packages();
    install(&place, &[&launcher]);
    let script = place.path("prefix/lib/node_modules/llamapool/bin/llamapool.js");
    let of_platform = |platform: &str| {
        let code = format!(
            "Object.defineProperty(process, 'platform', {{ value: '{platform}' }}); require({script:?})"
        );
        let ended = output(place.command("node").args(["-e", &code]));
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        String::from_utf8(ended.stderr).unwrap()
    };

    let not_installed = of_platform("linux");
    let not_made = of_platform("sunos");

    assert!(
        not_installed.contains("the package @llamapool/linux-"),
        "{not_installed}"
    );
    assert!(
        not_installed.contains("is not installed"),
        "{not_installed}"
    );
    assert!(
        not_made.starts_with("llamapool: there is no package for sunos-"),
        "{not_made}"
    );
    assert_eq!(not_made.lines().count(), 1, "{not_made}");
}
