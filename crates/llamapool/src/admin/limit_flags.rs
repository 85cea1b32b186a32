//! The flags for limits of keys and of ids, and what they change. `none` takes a limit away; a flag that
//! is not given leaves it as it is.

use std::fmt;
use std::str::FromStr;

use clap::{Arg, ArgMatches};
use llamapool_identity::{AccessLimits, Limits, Networks, Quotas, Rate};

use crate::cli::CliError;

const RATE: &str = "rate";
const BURST: &str = "burst";
const RATE_PER_KEY: &str = "rate-per-key";
const CONCURRENCY: &str = "concurrency";
const STREAMS: &str = "streams";
pub(super) const NETWORKS: &str = "networks";

/// The word that takes a limit away.
const NONE: &str = "none";

/// The quotas: their flags, help, and places in the record.
const QUOTAS: [(&str, &str, PlaceOf); 7] = [
    ("calls-per-day", "Most calls a day, in UTC", |it| {
        &mut it.calls_per_day
    }),
    ("calls-per-month", "Most calls a month, in UTC", |it| {
        &mut it.calls_per_month
    }),
    (
        "bytes-in-per-day",
        "Most bytes of requests a day, in UTC",
        |it| &mut it.bytes_in_per_day,
    ),
    (
        "bytes-in-per-month",
        "Most bytes of requests a month, in UTC",
        |it| &mut it.bytes_in_per_month,
    ),
    (
        "bytes-out-per-day",
        "Most bytes of answers a day, in UTC",
        |it| &mut it.bytes_out_per_day,
    ),
    (
        "bytes-out-per-month",
        "Most bytes of answers a month, in UTC",
        |it| &mut it.bytes_out_per_month,
    ),
    (
        "tokens-per-month",
        "Most tokens of LLMs a month, in UTC",
        |it| &mut it.tokens_per_month,
    ),
];

type PlaceOf = fn(&mut Quotas) -> &mut Option<u64>;

/// The flags of the limits of a caller key.
pub(super) fn of_callers() -> impl Iterator<Item = &'static str> {
    let quotas = QUOTAS.iter().map(|(name, _, _)| *name);
    [RATE, BURST, CONCURRENCY, STREAMS]
        .into_iter()
        .chain(quotas)
}

/// Returns the flags of a key.
pub(super) fn of_a_key() -> Vec<Arg> {
    let mut flags = vec![
        flag(RATE, "RATE", "Rate of all its calls, such as 120/min"),
        flag(
            BURST,
            "COUNT",
            "Most calls at once after a pause [default: those of the rate]",
        ),
        flag(CONCURRENCY, "COUNT", "Most calls that run at once"),
        flag(
            STREAMS,
            "COUNT",
            "Most event streams that are open at once, for each id [default: 8]",
        ),
    ];
    let quotas = QUOTAS
        .iter()
        .map(|(name, help, _)| flag(name, "COUNT", help));
    flags.extend(quotas);
    flags.push(flag(
        NETWORKS,
        "NETWORKS",
        "Addresses that the key may be used from, such as 10.0.0.0/8,192.0.2.7 [default: all]",
    ));
    flags
}

/// Returns the flags of a rule of access.
pub(super) fn of_access() -> Vec<Arg> {
    vec![
        flag(
            RATE,
            "RATE",
            "Rate of the calls of all callers to each of the ids, such as 600/min; none: no limit",
        ),
        flag(
            BURST,
            "COUNT",
            "Most calls at once after a pause [default: those of the rate]",
        ),
        flag(
            RATE_PER_KEY,
            "RATE",
            "Rate of the calls of one key to each of the ids",
        ),
        flag(
            CONCURRENCY,
            "COUNT",
            "Most calls of all callers that run at once, for each of the ids",
        ),
        flag(
            NETWORKS,
            "NETWORKS",
            "Addresses that the ids may be called from, such as 10.0.0.0/8; none: all",
        ),
    ]
}

/// Changes the limits of a key as the flags say.
pub(super) fn change_key(matches: &ArgMatches, limits: &mut Limits) -> Result<(), CliError> {
    change(matches, RATE, &mut limits.rate)?;
    change_count(matches, BURST, &mut limits.burst)?;
    change_count(matches, CONCURRENCY, &mut limits.concurrency)?;
    change_count(matches, STREAMS, &mut limits.streams)?;
    for (name, _, place) in QUOTAS {
        change_count(matches, name, place(&mut limits.quotas))?;
    }
    check_burst(limits.rate, limits.burst)
}

/// Changes the limits of ids as the flags say.
pub(super) fn change_access(
    matches: &ArgMatches,
    limits: &mut AccessLimits,
) -> Result<(), CliError> {
    change(matches, RATE, &mut limits.rate)?;
    change_count(matches, BURST, &mut limits.burst)?;
    change(matches, RATE_PER_KEY, &mut limits.rate_per_key)?;
    change_count(matches, CONCURRENCY, &mut limits.concurrency)?;
    change_networks(matches, &mut limits.networks)?;
    check_burst(limits.rate, limits.burst)
}

/// Changes the networks by the flag.
pub(super) fn change_networks(
    matches: &ArgMatches,
    networks: &mut Networks,
) -> Result<(), CliError> {
    let mut changed = Some(std::mem::take(networks));
    change(matches, NETWORKS, &mut changed)?;
    *networks = changed.unwrap_or_default();
    Ok(())
}

fn flag(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).help(help)
}

/// Refuses a burst that limits nothing.
fn check_burst(rate: Option<Rate>, burst: Option<u32>) -> Result<(), CliError> {
    if burst.is_some() && rate.is_none() {
        let message = "--burst is for a key or an id with a rate: set --rate";
        return Err(CliError::Usage(message.to_owned()));
    }
    Ok(())
}

fn change<T>(matches: &ArgMatches, name: &str, value: &mut Option<T>) -> Result<(), CliError>
where
    T: FromStr<Err: fmt::Display>,
{
    let Some(text) = matches.get_one::<String>(name) else {
        return Ok(());
    };
    *value = match text.as_str() {
        NONE => None,
        text => {
            let parsed = text.parse();
            Some(parsed.map_err(|error| CliError::Usage(format!("--{name}: {error}")))?)
        }
    };
    Ok(())
}

/// Changes a count by a flag.
pub(super) fn change_count<T>(
    matches: &ArgMatches,
    name: &str,
    value: &mut Option<T>,
) -> Result<(), CliError>
where
    T: FromStr + From<u8> + PartialOrd,
{
    let Some(text) = matches.get_one::<String>(name) else {
        return Ok(());
    };
    let parsed = || text.parse().ok().filter(|count| *count >= T::from(1));
    *value = match text.as_str() {
        NONE => None,
        _ => Some(parsed().ok_or_else(|| {
            let expected = "expected a whole number of at least 1, or none";
            CliError::Usage(format!("--{name}: {expected}"))
        })?),
    };
    Ok(())
}
