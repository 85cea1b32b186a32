//! Man pages and completions, as man and bash take them.

use std::path::Path;
use std::process::Command;

use crate::place::run;

/// Has a man page rendered, without a warning.
pub(crate) fn assert_renders(page: &Path, name: &str) {
    let mut man = Command::new("man");
    man.env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("LC_ALL", "C.UTF-8")
        .env("MANWIDTH", "100")
        .args(["--warnings", "--local-file"])
        .arg(page);
    let ended = man.output().unwrap();
    let text = String::from_utf8_lossy(&ended.stdout);
    let warnings = String::from_utf8_lossy(&ended.stderr);

    assert!(ended.status.success(), "{page:?}: {warnings}");
    assert_eq!(warnings, "", "{page:?}");
    assert!(
        text.contains("SYNOPSIS") && text.contains(name),
        "{page:?}: {text}"
    );
}

/// Has bash complete a command and a flag with a script.
pub(crate) fn assert_completes(script: &Path) {
    let complete = |line: &[&str]| {
        let ask = r#"
            source "$1"; shift
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
            function=$(complete -p llamapool | sed -E 's/.* -F ([^ ]+) .*/\1/')
            "$function" llamapool "${!#}" "${COMP_WORDS[COMP_CWORD - 1]}"
            printf '%s\n' "${COMPREPLY[@]}"
        "#;
        let mut bash = Command::new("bash");
        run(bash.args(["-c", ask, "bash"]).arg(script).args(line))
    };

    let command = complete(&["llamapool", "serv"]);
    let flag = complete(&["llamapool", "mcp", "--provider-u"]);

    assert!(command.lines().any(|it| it == "server"), "{command}");
    assert!(flag.lines().any(|it| it == "--provider-url"), "{flag}");
}
