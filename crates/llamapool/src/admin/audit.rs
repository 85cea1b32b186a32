//! `llamapool audit`: shows the audit log of a server, and checks that it is as it was written.
//!
//! It only reads, whether the server runs or not.

mod shown;
mod tail;

use anyhow::{Context, bail};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use llamapool_identity::{AUDIT_FOLDER, ChainKey, Checkpoint, Verified, verify_folder};
use llamapool_server::server_key;

use super::Printed;
use super::place::{self, Place};
use crate::cli::CliError;
use crate::settings::Environment;

/// The name of the command.
pub(crate) const AUDIT: &str = "audit";

const LINES: &str = "lines";
const FOLLOW: &str = "follow";
const JSON: &str = "json";
const CHECKPOINT: &str = "checkpoint";
/// The most lines that `tail` begins with.
const MAX_LINES: u64 = 100_000;

const ABOUT: &str = "\
Shows and checks the audit log of a server: who was let in or refused, and what was changed. Each line \
has a keyed hash of the line before it, so what was changed, removed or inserted is found. A tail that was \
cut off is found by a checkpoint: the server notes one every five minutes in its ordinary log, in its \
metrics and in /api/state, where others can keep it.

Examples:
  llamapool audit tail --follow
  llamapool audit tail --lines 1000 --json | jq 'select(.event == \"key.created\")'
  llamapool audit verify
  llamapool audit verify --checkpoint 812:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

/// The command as it was typed.
#[derive(Debug)]
pub struct AuditCommand {
    place: Place,
    action: Action,
}

#[derive(Debug)]
enum Action {
    Tail {
        lines: usize,
        follow: bool,
        json: bool,
    },
    Verify(Vec<Checkpoint>),
}

/// Returns the command.
pub(crate) fn command() -> Command {
    let flag = |name, help| {
        Arg::new(name)
            .long(name)
            .action(ArgAction::SetTrue)
            .help(help)
    };
    let lines = Arg::new(LINES)
        .long(LINES)
        .value_name("N")
        .value_parser(value_parser!(u64).range(0..=MAX_LINES))
        .default_value("20")
        .help("Lines to begin with");
    let tail = Command::new("tail")
        .about("Shows the newest lines, the oldest of them first")
        .arg(lines)
        .arg(flag(
            FOLLOW,
            "Goes on with each line that is written, until it is interrupted",
        ))
        .arg(flag(JSON, "Prints the lines as they are in the file"));
    let checkpoint = Arg::new(CHECKPOINT)
        .long(CHECKPOINT)
        .value_name("SEQ:HASH")
        .action(ArgAction::Append)
        .help("Line that must be there as it was noted elsewhere; may be repeated");
    let verify = Command::new("verify")
        .about("Checks all lines of all files; the exit code is 1 if something is wrong")
        .arg(checkpoint);
    Command::new(AUDIT)
        .about("Shows and checks the audit log of a server")
        .long_about(ABOUT)
        .subcommand_required(true)
        .disable_help_subcommand(true)
        .subcommands([tail, verify].map(place::add_flags))
}

/// Reads the command.
pub(super) fn read(
    matches: &ArgMatches,
    environment: &Environment,
) -> Result<AuditCommand, CliError> {
    let Some((name, matches)) = matches.subcommand() else {
        return Err(CliError::MissingCommand);
    };
    let action = match name {
        "tail" => {
            let lines = matches.get_one::<u64>(LINES).copied().unwrap_or_default();
            Action::Tail {
                lines: usize::try_from(lines).unwrap_or(usize::MAX),
                follow: matches.get_flag(FOLLOW),
                json: matches.get_flag(JSON),
            }
        }
        _ => {
            let checkpoints = matches.get_many::<String>(CHECKPOINT).unwrap_or_default();
            let checkpoints = checkpoints.map(|text| {
                let checkpoint: Result<Checkpoint, _> = text.parse();
                checkpoint.map_err(|error| CliError::Usage(error.to_string()))
            });
            Action::Verify(checkpoints.collect::<Result<_, _>>()?)
        }
    };
    Ok(AuditCommand {
        place: Place::find(matches, environment)?,
        action,
    })
}

impl AuditCommand {
    /// Runs the command.
    pub(super) fn run(self) -> anyhow::Result<Printed> {
        let folder = self.place.path().join(AUDIT_FOLDER);
        if !folder.is_dir() {
            bail!(
                "there is no audit log in {}: a server with this data directory writes it, unless \
                 AUDIT is off",
                folder.display()
            );
        }
        match self.action {
            Action::Tail {
                lines,
                follow,
                json,
            } => {
                let form = if json {
                    tail::Form::Raw
                } else {
                    tail::Form::People
                };
                let (output, place) = tail::newest(&folder, lines, form)?;
                if follow {
                    tail::follow(&folder, place, form, &output)?;
                    return Ok(Printed::default());
                }
                Ok(Printed {
                    output,
                    notes: String::new(),
                })
            }
            Action::Verify(checkpoints) => {
                let key = server_key(self.place.path())?;
                let key =
                    key.context("the data directory has no key, with which the log is checked")?;
                let verified = verify_folder(&folder, ChainKey::new(&key), checkpoints)?;
                report(&verified)
            }
        }
    }
}

/// Returns what a verification found, as an error if something is wrong.
fn report(verified: &Verified) -> anyhow::Result<Printed> {
    if verified.total > 0 {
        let findings = verified.findings.iter().map(|finding| {
            let text = &finding.text;
            match &finding.path {
                Some(path) => format!("\n  {}:{}: {text}", path.display(), finding.line),
                None => format!("\n  {text}"),
            }
        });
        let findings: String = findings.collect();
        let more = verified.total - verified.findings.len();
        let more = match more {
            0 => String::new(),
            more => format!("\n  and {more} more"),
        };
        bail!("the audit log is not as it was written:{findings}{more}");
    }

    let Verified { files, lines, .. } = verified;
    let head = match verified.head {
        Some(head) => format!("the last line is the checkpoint {head}"),
        None => "there is no line yet".to_owned(),
    };
    let torn = match verified.torn_bytes {
        0 => String::new(),
        bytes => format!(
            "the last {bytes} bytes are a line without an end: it is being written, or the server was killed\n"
        ),
    };
    Ok(Printed {
        output: format!("{lines} lines in {files} files are as they were written; {head}\n"),
        notes: torn,
    })
}
