//! The units of systemd: read by systemd itself, and how much they leave open.

use std::path::PathBuf;

use crate::deb::System;
use crate::place::run;

/// The units with the most that they may leave open, in tenths of `systemd-analyze security`: 0 is nothing,
/// 100 all. A relay runs programs, of which little is known.
const UNITS: [(&str, &str); 3] = [
    ("llamapool-server.service", "20"),
    ("llamapool-worker.service", "20"),
    ("llamapool-relay@notes.service", "30"),
];

fn unit(system: &System, name: &str) -> PathBuf {
    let template = name.replace("@notes", "@");
    let folder = system.root().join("usr/lib/systemd/system");
    let instance = folder.join(name);
    if template != name {
        std::fs::copy(folder.join(template), &instance).unwrap();
    }
    instance
}

#[test]
fn systemd_reads_every_unit_without_a_warning() {
    let system = System::installed();
    let user = system
        .root()
        .join("usr/lib/systemd/user/llamapool-relay@.service");
    let as_user = user.with_file_name("llamapool-relay@notes.service");
    std::fs::copy(user, &as_user).unwrap();

    let mut units: Vec<_> = UNITS.iter().map(|(name, _)| unit(&system, name)).collect();
    units.push(as_user);
    for unit in units {
        // The program is not in this system's /usr/bin.
        let text = std::fs::read_to_string(&unit).unwrap();
        let program = system.root().join("usr/bin/llamapool");
        assert!(text.contains("ExecStart=/usr/bin/llamapool "), "{unit:?}");
        let here = text.replace("/usr/bin/llamapool", program.to_str().unwrap());
        std::fs::write(&unit, here).unwrap();

        let mut verify = system.place.command("systemd-analyze");
        let ended = verify
            .args(["verify", "--man=no", "--recursive-errors=no"])
            .arg(&unit)
            .output();
        let ended = ended.unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(
            ended.status.success() && said.is_empty(),
            "{unit:?}: {said}"
        );
    }
}

#[test]
fn services_leave_little_open() {
    let system = System::installed();
    for (name, threshold) in UNITS {
        let mut analyze = system.place.command("systemd-analyze");
        analyze.args([
            "security",
            "--offline=true",
            "--no-pager",
            "--threshold",
            threshold,
        ]);
        run(analyze.arg(unit(&system, name)));
    }
}

/// A package has the units that the program prints, which people without a package use.
#[test]
fn the_program_prints_the_units_of_the_package() {
    let system = System::installed();
    let program = system.root().join("usr/bin/llamapool");
    let mut print = system.place.command(&program);
    let printed = run(print.args(["service", "print", "server"]));

    let packaged = std::fs::read_to_string(unit(&system, "llamapool-server.service")).unwrap();
    let here = packaged.replace(
        "/usr/bin/llamapool",
        program.canonicalize().unwrap().to_str().unwrap(),
    );
    assert_eq!(printed, here);
}
