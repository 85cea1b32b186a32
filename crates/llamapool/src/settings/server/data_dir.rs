//! The setting of the data directory, and the directory that a server has by default.

use std::path::{Path, PathBuf};

use llamapool_server::DataDirConfig;
use llamapool_settings::{
    Environment, Setting, SettingsError, Sources, Syntax, TypedSetting, ValueType,
};

use crate::settings::address::ANY_PORT;
use crate::settings::group::ACCESS;

/// The choice of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Choice {
    Off,
    At(PathBuf),
}

const CHOICE: ValueType<Choice> = ValueType {
    syntax: Syntax::Path,
    parse: |text| match text.trim() {
        "off" => Ok(Choice::Off),
        path => Ok(Choice::At(PathBuf::from(path))),
    },
};

static DATA_DIR: TypedSetting<Choice> = TypedSetting::new(
    "DATA_DIR",
    ACCESS,
    CHOICE,
    "Directory of what outlives a restart: which CLIENT_SECRET holds which id, as hashes, and the \
     key of session ids; or off.",
)
.described_default(
    "$STATE_DIRECTORY, or llamapool/server-PORT in $XDG_STATE_HOME or ~/.local/state",
);

/// The settings declared here.
pub(super) static SETTINGS: &[&Setting] = &[&DATA_DIR.setting];

/// Returns the directory of a server on a port.
pub(super) fn resolve(sources: &Sources, port: u16) -> Result<DataDirConfig, SettingsError> {
    Ok(match sources.explicit(&DATA_DIR)? {
        Some(Choice::Off) => DataDirConfig::None,
        Some(Choice::At(path)) => DataDirConfig::Required(path),
        None => default(sources.environment(), port),
    })
}

/// Returns the directory that systemd made for the service, or one of this port in the user's
/// directory for states (XDG Base Directory Specification): several servers of one user do not
/// share one. None for a server on any port, which no other run is the same server as.
fn default(environment: &Environment, port: u16) -> DataDirConfig {
    let service = environment.get("STATE_DIRECTORY").and_then(|paths| {
        let first = paths.to_str()?.split(':').next()?;
        absolute(Path::new(first))
    });
    if let Some(path) = service {
        return DataDirConfig::Default(path);
    }
    if port == ANY_PORT {
        return DataDirConfig::None;
    }

    let directory = |name: &str| {
        environment
            .get(name)
            .and_then(|path| absolute(Path::new(path)))
    };
    let states =
        directory("XDG_STATE_HOME").or_else(|| Some(directory("HOME")?.join(".local/state")));
    states.map_or(DataDirConfig::NoPlace, |states| {
        DataDirConfig::Default(states.join("llamapool").join(format!("server-{port}")))
    })
}

fn absolute(path: &Path) -> Option<PathBuf> {
    path.is_absolute().then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_server_of_a_user_has_a_directory_of_its_own() {
        let of = |variables: &[(&str, &str)], port| match default(
            &variables.iter().copied().collect(),
            port,
        ) {
            DataDirConfig::Default(path) => path.to_str().map(str::to_owned),
            DataDirConfig::NoPlace => Some("no place".to_owned()),
            other => {
                assert_eq!(other, DataDirConfig::None);
                None
            }
        };
        let home = ("HOME", "/home/me");

        assert_eq!(
            of(&[home], 8080).as_deref(),
            Some("/home/me/.local/state/llamapool/server-8080")
        );
        assert_eq!(
            of(&[home, ("XDG_STATE_HOME", "/state")], 9).as_deref(),
            Some("/state/llamapool/server-9")
        );
        assert_eq!(
            of(&[home, ("STATE_DIRECTORY", "/var/lib/a:/var/lib/b")], 0).as_deref(),
            Some("/var/lib/a")
        );
        assert_eq!(of(&[home], 0), None);
        assert_eq!(of(&[], 8080).as_deref(), Some("no place"));
        let relative = of(&[("HOME", "relative")], 8080);
        assert_eq!(relative.as_deref(), Some("no place"));
    }
}
