//! The Debian package: installed into an empty system, and purged.

use std::path::{Path, PathBuf};

use crate::artifacts::artifact;
use crate::place::{Place, assert_is_this_version, run};
use crate::shells::{assert_completes, assert_renders};

/// The packages of this machine that the empty system is said to have: those that ours may need.
const INSTALLED: [&str; 2] = ["libc6", "libgcc-s1"];

fn package() -> PathBuf {
    artifact("", "llamapool_", ".deb")
}

/// A system that has nothing but what dpkg writes down.
pub(crate) struct System {
    pub(crate) place: Place,
}

impl System {
    pub(crate) fn new() -> Self {
        let place = Place::new();
        let database = place.path("root/var/lib/dpkg");
        for folder in ["info", "updates", "triggers"] {
            std::fs::create_dir_all(database.join(folder)).unwrap();
        }
        let stanzas = INSTALLED.map(|name| {
            let control = run(place.command("dpkg-query").args(["--status", name]));
            // Their own needs are not looked at here.
            let is_own =
                |line: &&str| !line.starts_with("Depends:") && !line.starts_with("Pre-Depends:");
            control
                .lines()
                .filter(is_own)
                .collect::<Vec<_>>()
                .join("\n")
        });
        std::fs::write(database.join("status"), stanzas.join("\n\n") + "\n").unwrap();
        std::fs::write(database.join("available"), "").unwrap();
        Self { place }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.place.path("root")
    }

    /// Runs dpkg on the system. Its scripts see the root of the system in a variable, and run outside.
    pub(crate) fn dpkg(&self, arguments: &[&str], last: &Path) {
        let mut dpkg = self.place.command("dpkg");
        dpkg.arg(format!("--root={}", self.root().display()))
            .args([
                "--force-not-root",
                "--force-script-chrootless",
                "--force-confnew",
            ])
            .args(arguments)
            .arg(last);
        run(&mut dpkg);
    }

    pub(crate) fn installed() -> Self {
        let system = Self::new();
        system.dpkg(&["--install"], &package());
        system
    }

    /// Returns what is there besides dpkg's own records.
    fn files(&self) -> Vec<PathBuf> {
        let all = self.place.files("root").into_iter();
        all.filter(|path| !path.starts_with("var/lib/dpkg") && !path.starts_with("var/log"))
            .collect()
    }
}

#[test]
fn the_package_is_installed_runs_and_is_purged_without_a_trace() {
    use std::os::unix::fs::PermissionsExt;
    let system = System::installed();
    let root = system.root();

    assert_is_this_version(&system.place, &root.join("usr/bin/llamapool"));
    assert_renders(
        &root.join("usr/share/man/man1/llamapool-mcp.1.gz"),
        "llamapool-mcp",
    );
    assert_completes(&root.join("usr/share/bash-completion/completions/llamapool"));
    let keys = ["api-key", "worker-key"].map(|name| {
        let path = root.join("etc/llamapool").join(name);
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{path:?}");
        std::fs::read_to_string(path).unwrap()
    });
    assert!(keys.iter().all(|key| key.len() == 48), "of 24 random bytes");
    assert_ne!(keys[0], keys[1]);
    std::fs::create_dir_all(root.join("var/lib/private/llamapool")).unwrap();
    std::fs::write(root.join("var/lib/private/llamapool/store"), "").unwrap();

    // Again, as by an upgrade: the keys are those of before.
    system.dpkg(&["--install"], &package());
    let key = std::fs::read_to_string(root.join("etc/llamapool/api-key")).unwrap();
    assert_eq!(key, keys[0]);

    system.dpkg(&["--remove"], Path::new("llamapool"));
    let left = system.files();
    assert!(
        left.contains(&PathBuf::from("etc/llamapool/server.toml")),
        "{left:?}"
    );
    assert!(
        !left.contains(&PathBuf::from("usr/bin/llamapool")),
        "{left:?}"
    );

    system.dpkg(&["--purge"], Path::new("llamapool"));
    assert_eq!(system.files(), Vec::<PathBuf>::new());
    assert!(!root.join("etc/llamapool").exists());
}

/// Every command has its page, and mandb finds them.
#[test]
fn every_command_has_a_man_page() {
    let system = System::installed();
    let man = system.root().join("usr/share/man");
    let pages: Vec<_> = system.place.files("root/usr/share/man/man1");

    for page in &pages {
        let name = page.to_str().unwrap().trim_end_matches(".1.gz").to_owned();
        assert_renders(&man.join("man1").join(page), &name);
    }
    let names: Vec<_> = pages.iter().map(|page| page.to_str().unwrap()).collect();
    for command in [
        "llamapool",
        "llamapool-server",
        "llamapool-key-create",
        "llamapool-service-print",
    ] {
        assert!(
            names.contains(&&*format!("{command}.1.gz")),
            "{command}: {names:?}"
        );
    }

    run(system
        .place
        .command("mandb")
        .args(["--quiet", "--create", "--user-db"])
        .arg(&man));
    let mut whatis = system.place.command("whatis");
    let found = run(whatis.arg("--manpath").arg(&man).arg("llamapool-mcp"));
    assert!(found.contains("relay of a private MCP server"), "{found}");
}

#[test]
fn lintian_has_no_error() {
    let place = Place::new();
    let mut lintian = place.command("lintian");
    lintian.args(["--allow-root", "--fail-on", "error", "--no-cfg"]);
    run(lintian.arg(package()));
}
