//! The command line of the executable that is test, soak, provider and program.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::runtime::{Builder, Runtime};

use crate::llm;
use crate::plant::Plant;
use crate::program::Era;
use crate::site::Executables;
use crate::soak::{self, SoakOptions};
use crate::{http_provider, program, short};

/// Threads of the harness. Two, as the machine that it is made for has two cores.
const THREADS: usize = 2;

/// The flags of a soak.
const FLAGS: &str = "--seed, --window, --executable, --plant, --folder or --publish";

/// Runs what the arguments of this process ask for: the peers of the processes under test, a soak,
/// or else the short runs, as a test target. `llamapool` is the executable under test.
pub fn main(llamapool: &Path) -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let words: Vec<&str> = words.iter().filter_map(|word| word.to_str()).collect();
    match run(llamapool, &words) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "history: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(llamapool: &Path, words: &[&str]) -> anyhow::Result<ExitCode> {
    match words {
        ["provider", port, journal, plant] => {
            let provider = http_provider::run(port.parse()?, Path::new(journal), plant.parse()?);
            runtime(1)?.block_on(provider)?;
            Ok(ExitCode::SUCCESS)
        }
        ["program", id, journal, plant] => {
            let era = match *id {
                "modern" => Era::Stateless,
                _ => Era::Sessions,
            };
            let program = program::run(era, Path::new(journal), plant.parse()?);
            runtime(1)?.block_on(program)?;
            Ok(ExitCode::SUCCESS)
        }
        ["runtime", name, port, journal] => {
            let runtime_of_llms = llm::run_runtime(name, port.parse()?, Path::new(journal));
            runtime(1)?.block_on(runtime_of_llms)?;
            Ok(ExitCode::SUCCESS)
        }
        ["soak", rest @ ..] => {
            let options = soak_options(rest)?;
            let llamapool = options.executable.as_deref().unwrap_or(llamapool);
            let executables = executables(llamapool)?;
            runtime(THREADS)?.block_on(soak::run(&executables, options))
        }
        _ => runtime(THREADS)?.block_on(short::run(&executables(llamapool)?, words)),
    }
}

fn runtime(threads: usize) -> std::io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(threads).enable_all().build()
}

fn executables(llamapool: &Path) -> anyhow::Result<Executables> {
    Ok(Executables {
        llamapool: llamapool.to_owned(),
        peer: std::env::current_exe().context("the path of this executable")?,
    })
}

/// Parses a duration, followed by flags with a value each.
fn soak_options(words: &[&str]) -> anyhow::Result<SoakOptions> {
    let [lasting, rest @ ..] = words else {
        bail!("soak: no duration, expected such as 10m or 24h");
    };
    let mut options = SoakOptions {
        lasting: duration(lasting)?,
        seed: rand::random::<u32>().into(),
        first_window: 1,
        executable: None,
        plant: Plant::None,
        folder: PathBuf::from("target/soak"),
        publish: None,
    };
    let mut rest = rest.iter();
    while let Some(flag) = rest.next() {
        let value = rest.next().with_context(|| format!("{flag}: no value"))?;
        match *flag {
            "--seed" => options.seed = value.parse().with_context(|| format!("{flag} {value}"))?,
            "--window" => {
                options.first_window = value.parse().with_context(|| format!("{flag} {value}"))?;
            }
            "--executable" => options.executable = Some(value.into()),
            "--plant" => options.plant = value.parse()?,
            "--folder" => options.folder = value.into(),
            "--publish" => options.publish = Some(value.into()),
            _ => bail!("{flag}: unknown, expected {FLAGS}"),
        }
    }
    Ok(options)
}

/// Parses a number with one of the units s, m and h.
fn duration(text: &str) -> anyhow::Result<Duration> {
    let units = [("s", 1), ("m", 60), ("h", 3600)];
    let parsed = units.iter().find_map(|(unit, seconds)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        Some(Duration::from_secs(number.checked_mul(*seconds)?))
    });
    parsed.with_context(|| format!("{text:?}, expected a duration such as 90s, 10m or 24h"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("90s").unwrap(), Duration::from_secs(90));
        assert_eq!(duration("24h").unwrap(), Duration::from_secs(86_400));
        for text in ["", "10", "h", "-1m", "1d"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn unknown_flags_of_a_soak_are_errors() {
        let options = soak_options(&["2h", "--seed", "7", "--plant", "twice"]).unwrap();
        assert_eq!((options.seed, options.plant), (7, Plant::Twice));

        let options = soak_options(&["2h", "--window", "3"]).unwrap();
        assert_eq!((options.first_window, options.executable), (3, None));

        assert!(soak_options(&["2h", "--sed", "7"]).is_err());
        assert!(soak_options(&["2h", "--seed"]).is_err());
    }
}
