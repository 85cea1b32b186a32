//! `llamapool login`: a one-time code for the consent page.

use std::time::SystemTime;

use anyhow::bail;
use clap::{Arg, ArgAction, ArgMatches, Command};
use llamapool_identity::{Approver, KeyId, KeyKind, LOGIN_CODE_LIFE};
use serde_json::json;

use super::Printed;
use super::place::{self, Place};
use crate::cli::CliError;
use crate::settings::Environment;

/// The name of the command.
pub(crate) const LOGIN: &str = "login";

const AS: &str = "as";
const JSON: &str = "json";

const ABOUT: &str = "\
Prints a one-time code. On the page where an app asks to be allowed, it is typed in place of a \
caller key, within ten minutes. What is allowed by it is allowed by the owner of the server, for any \
id, or with --as by the holder of a caller key.

Examples:
  llamapool login
  llamapool login --as 7k3xq2mbdrta";

/// The command as it was typed.
#[derive(Debug)]
pub struct LoginCommand {
    place: Place,
    key: Option<KeyId>,
    json: bool,
}

/// Returns the command.
pub(crate) fn command() -> Command {
    let key = Arg::new(AS)
        .long(AS)
        .value_name("ID")
        .help("Id of the caller key that the code stands for, as `key list` shows it");
    let json = Arg::new(JSON)
        .long(JSON)
        .action(ArgAction::SetTrue)
        .help("Prints JSON");
    let command = Command::new(LOGIN)
        .about("Prints a one-time code for the page where an app asks to be allowed")
        .long_about(ABOUT)
        .args([key, json]);
    place::add_flags(command)
}

/// Reads the command.
pub(super) fn read(
    matches: &ArgMatches,
    environment: &Environment,
) -> Result<LoginCommand, CliError> {
    let key = matches.get_one::<String>(AS);
    let key: Option<Result<KeyId, _>> = key.map(|text| text.parse());
    Ok(LoginCommand {
        place: Place::find(matches, environment)?,
        key: key
            .transpose()
            .map_err(|error| CliError::Usage(format!("{error}")))?,
        json: matches.get_flag(JSON),
    })
}

impl LoginCommand {
    /// Runs the command.
    pub(super) fn run(self) -> anyhow::Result<Printed> {
        let mut store = self.place.store()?;
        let now = SystemTime::now();
        let approver = match self.key {
            None => Approver::Owner,
            Some(id) => {
                let key = store.key(&id)?;
                if key.kind() != KeyKind::Caller {
                    bail!(
                        "the key {id} is a {} key, expected a caller key",
                        key.kind()
                    );
                }
                if !key.is_valid(now) {
                    bail!("the key {id} has expired or was revoked");
                }
                Approver::Key(id)
            }
        };

        let code = store.create_login_code(&approver, now)?.expose();
        let whose = match approver.key() {
            None => "the owner".to_owned(),
            Some(id) => format!("the key {id}"),
        };
        let minutes = LOGIN_CODE_LIFE.as_secs() / 60;
        let output = if self.json {
            let seconds = LOGIN_CODE_LIFE.as_secs();
            json!({"code": code, "approver": approver.to_string(), "expires_in": seconds})
                .to_string()
        } else {
            code
        };
        Ok(Printed {
            output: format!("{output}\n"),
            notes: format!(
                "type this code on the page where an app asks to be allowed, within {minutes} \
                 minutes; it works once, and stands for {whose}\n"
            ),
        })
    }
}
