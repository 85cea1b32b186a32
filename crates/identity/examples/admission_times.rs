//! Times what the admission of a call costs by keys: the access of its id, its key, and its rights, with
//! 10 000 keys in the snapshot.
//!
//! `cargo run --release -p llamapool-identity --example admission_times` prints nanoseconds, each the
//! least of several rounds. It fails if a call takes 0.5 µs or more with one of the keys that are in use;
//! with a key that no cache has it takes several times that. What runs without keys looks at none
//! of this.

use std::hint::black_box;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use llamapool_identity::{
    AccessMode, AccessRule, CallerRights, Key, KeyKind, KeyText, Records, Rights, Snapshot,
};

/// The keys of the snapshot.
const KEYS: usize = 10_000;
/// The keys that are in use.
const KEYS_IN_USE: usize = 100;
/// The calls of a round.
const CALLS: usize = 10_000;
const ROUNDS: usize = 20;
/// The most that a call with a key may cost.
const BAR: Duration = Duration::from_nanos(500);

fn main() -> ExitCode {
    let (texts, records) = records();
    let snapshot = Snapshot::new(&Records::default(), AccessMode::Open, records);
    let now = SystemTime::now();
    // Far from each other in memory, and in no order of it.
    let authenticate = |key: usize| {
        let text = texts[key * 7919 % texts.len()].expose().as_bytes();
        snapshot.authenticate(text, KeyKind::Caller, now)
    };
    let is_covered = |key: &Key| {
        let rights = key.rights.caller();
        rights.is_some_and(|rights| rights.may_call("notes") && rights.opens_llm())
    };

    let access = nanoseconds(|_| snapshot.access().mode("notes") == AccessMode::Keys);
    let unknown = nanoseconds(|call| {
        let wrong = call.to_le_bytes();
        snapshot.authenticate(&wrong, KeyKind::Caller, now).is_err()
    });
    let known = nanoseconds(|call| authenticate(call % KEYS_IN_USE).is_ok());
    let admits = |key: usize| {
        let is_closed = snapshot.access().mode("notes") == AccessMode::Keys;
        is_closed && authenticate(key).is_ok_and(|key| is_covered(key))
    };
    let all = nanoseconds(|call| admits(call % KEYS_IN_USE));
    let cold = nanoseconds(admits);

    let lines = format!(
        "keys in the snapshot, in use         {KEYS}, {KEYS_IN_USE}\n\
         access of an id, ten rules           {access} ns\n\
         a wrong key                          {unknown} ns\n\
         a key                                {known} ns\n\
         access, key and rights               {all} ns, less than {} are wanted\n\
         the same, each call with another key {cold} ns\n",
        BAR.as_nanos()
    );
    // A closed pipe changes nothing of the verdict.
    let _ = std::io::stdout().write_all(lines.as_bytes());
    if u128::from(all) < BAR.as_nanos() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Returns keys and ten rules of access, and the texts of the keys.
fn records() -> (Vec<KeyText>, Records) {
    let texts: Vec<_> = (0..KEYS)
        .map(|_| KeyText::random(KeyKind::Caller))
        .collect();
    let keys = texts.iter().filter_map(|text| {
        let rights = CallerRights {
            ids: ["team-*", "notes"]
                .map(str::parse)
                .into_iter()
                .flatten()
                .collect(),
            models: vec!["qwen*".to_owned()],
            ..CallerRights::default()
        };
        Key::declared(text.id().as_str(), Rights::Caller(rights), text.digest()).ok()
    });
    let patterns = (0..9).map(|number| format!("team-{number}"));
    let patterns = patterns.chain(["notes".to_owned()]);
    let rules = patterns.filter_map(|pattern| {
        let pattern = pattern.parse().ok()?;
        Some(AccessRule::new(pattern, AccessMode::Keys))
    });
    let records = Records {
        keys: keys.collect(),
        access: rules.collect(),
        ..Records::default()
    };
    (texts, records)
}

/// Returns the nanoseconds of one run. All must succeed: far too many if one does not.
fn nanoseconds(run: impl Fn(usize) -> bool) -> u64 {
    let round = || {
        let since = Instant::now();
        let succeeded = (0..CALLS)
            .filter(|call| black_box(run(black_box(*call))))
            .count();
        let took = since.elapsed();
        if succeeded < CALLS {
            Duration::MAX
        } else {
            took
        }
    };
    let least = (0..ROUNDS).map(|_| round()).min().unwrap_or_default();
    u64::try_from(least.as_nanos()).unwrap_or(u64::MAX) / CALLS as u64
}
