//! Settings files of server and relay as a whole: a configuration, or an error of one line that shows
//! no secret.

#![no_main]

use std::ffi::OsString;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use llamapool::cli;
use llamapool::settings::Environment;

/// A value that no error may show where it is the value of a secret.
const MARK: &str = "hunter2hunter2";
const SECRETS: [&str; 3] = ["worker_key", "api_key", "auth_token"];

/// The file of this process.
static FILE: LazyLock<String> = LazyLock::new(|| {
    let name = format!("llamapool-fuzz-roles-{}.toml", std::process::id());
    std::env::temp_dir().join(name).display().to_string()
});

fuzz_target!(|text: &str| {
    std::fs::write(FILE.as_str(), text).unwrap();
    for role in ["server", "mcp"] {
        let words = ["llamapool", role, "--config-file", FILE.as_str()].map(OsString::from);
        if let Err(error) = cli::parse(words, &Environment::default()) {
            check(text, &error.to_string());
        }
    }
});

fn check(text: &str, error: &str) {
    let mut without_secrets = text.to_owned();
    for name in SECRETS {
        without_secrets = without_secrets.replace(&format!("{name} = \"{MARK}\""), "");
    }
    let is_secret = text.contains(MARK) && !without_secrets.contains(MARK);
    assert!(!is_secret || !error.contains(MARK), "{error}");
    let controls = |letter: char| letter.is_control() && letter != '\n';
    assert!(!error.contains(controls), "{error:?}");
}
