//! The flags of `llamapool key`, and what they mean.

use std::time::{Duration, SystemTime};

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Command};
use llamapool_identity::{
    AdminRights, CallerRights, Class, KeyId, KeyKind, LlmLimits, Pattern, Rights, RightsError,
    WorkerIds, WorkerKind, WorkerRights, check_key_name,
};

use crate::admin::limit_flags::{self, change_count};
use crate::cli::CliError;
use crate::settings::model_patterns;

pub(super) const NAME: &str = "name";
pub(super) const IF_MISSING: &str = "if-missing";
pub(super) const QUIET: &str = "quiet";
pub(super) const JSON: &str = "json";
pub(super) const OVERLAP: &str = "overlap";
const KIND: &str = "KIND";
const ID: &str = "ID";
const IDS: &str = "ids";
const READ_ONLY: &str = "read-only";
const MAY: &str = "may";
const MODELS: &str = "models";
const KINDS: &str = "kinds";
const MAX_IDS: &str = "max-ids";
const EXPIRES: &str = "expires";
const WEIGHT: &str = "weight";
const CLASS: &str = "class";
const CONCURRENCY: &str = "max-concurrency";
const QUEUED: &str = "max-queued";
const REQUESTS: &str = "requests-per-minute";
const TOKENS: &str = "tokens-per-minute";
const DAILY: &str = "tokens-per-day";

/// How long the old secret of a rotated key stays valid by default.
pub(super) const DEFAULT_OVERLAP: Duration = Duration::from_secs(86_400);
/// The rights of admin keys, for a message.
const RIGHTS: &str = "some of state, metrics, keys, policy and relays";
/// The word for ids that the server assigns.
const ASSIGNED: &str = "assigned";
/// The words for a key that may only read, and one that may do everything.
const ON: &str = "on";
const OFF: &str = "off";
/// The word for a key that does not expire.
const NEVER: &str = "never";

/// The flags that are for caller keys, and those that are for worker keys.
const OF_CALLERS: [&str; 9] = [
    READ_ONLY,
    MODELS,
    WEIGHT,
    CLASS,
    CONCURRENCY,
    QUEUED,
    REQUESTS,
    TOKENS,
    DAILY,
];
const OF_WORKERS: [&str; 2] = [KINDS, MAX_IDS];
const OF_ADMINS: [&str; 1] = [MAY];

/// What the flags say of a key; `None`: nothing.
#[derive(Debug)]
pub(super) struct Changes {
    pub(super) name: Option<String>,
    pub(super) expires_at: Option<Option<SystemTime>>,
    ids: Option<String>,
    is_read_only: Option<bool>,
    models: Option<Vec<String>>,
    kinds: Option<Vec<WorkerKind>>,
    max_ids: Option<usize>,
    may: Option<String>,
    class: Option<Class>,
    /// All flags, from which those of limits are read when it is clear what they change.
    matches: ArgMatches,
    /// The flags that were given and are for one kind of key alone.
    given: Vec<&'static str>,
}

/// Returns `key create`.
pub(super) fn create() -> Command {
    let kinds = KeyKind::ALL.map(KeyKind::word);
    let kind = Arg::new(KIND)
        .required(true)
        .value_parser(PossibleValuesParser::new(kinds))
        .help("caller: opens ids and models; worker: lets relays serve ids; admin: opens the state, the metrics and the administration API");
    let flag = |name, help| {
        Arg::new(name)
            .long(name)
            .action(ArgAction::SetTrue)
            .help(help)
    };
    Command::new("create")
        .about("Creates a key, and prints it this once")
        .arg(kind)
        .args(of_a_key())
        .arg(read_only(
            "Lets a caller key read at its ids, and call no tool",
        ))
        .arg(flag(
            IF_MISSING,
            "Does nothing if a valid key of this kind and name exists",
        ))
        .arg(flag(QUIET, "Prints the key and nothing else"))
        .arg(json())
}

/// Returns `key rotate`.
pub(super) fn rotate() -> Command {
    let overlap = Arg::new(OVERLAP)
        .long(OVERLAP)
        .value_name("DURATION")
        .help("How long the old secret stays valid [default: 24h]");
    Command::new("rotate")
        .about("Gives a key a new secret, and prints it this once")
        .arg(id())
        .arg(overlap)
}

/// Returns `key edit`.
pub(super) fn edit() -> Command {
    let changed_read_only = read_only("Whether a caller key may read at its ids, and call no tool")
        .value_name("on|off")
        .num_args(1);
    Command::new("edit")
        .about("Changes a key; other rights end what runs by it")
        .arg(id())
        .args(of_a_key())
        .arg(changed_read_only)
}

/// Returns the argument that names a key.
pub(super) fn id() -> Arg {
    Arg::new(ID)
        .required(true)
        .help("Id of the key, as `key list` shows it")
}

/// Returns the flag for JSON.
pub(super) fn json() -> Arg {
    Arg::new(JSON)
        .long(JSON)
        .action(ArgAction::SetTrue)
        .help("Prints JSON")
}

fn of_a_key() -> Vec<Arg> {
    let flag = |name, value, help| Arg::new(name).long(name).value_name(value).help(help);
    let mut flags = vec![
        flag(
            NAME,
            "NAME",
            "Name for people, such as laptop; a new key without one is named by its id",
        ),
        flag(
            IDS,
            "PATTERNS",
            "Ids that a caller key opens or a worker key serves, such as 'notes,team-*'; for a \
             worker key also: assigned",
        ),
        flag(
            MODELS,
            "PATTERNS",
            "Models that a caller key opens, such as 'qwen*' or '*,!gpt*'",
        ),
        flag(
            KINDS,
            "mcp,llm",
            "Relays that a worker key is for [default: both]",
        ),
        flag(
            MAX_IDS,
            "COUNT",
            "Most ids of a relay with a worker key [default: 16]",
        ),
        flag(
            MAY,
            "RIGHTS",
            "What an admin key may do: state, metrics, keys, policy, relays [default: state,metrics]",
        ),
        flag(
            EXPIRES,
            "WHEN",
            "When the key ends: 90d, 2027-01-31, or never [default: never]",
        ),
        flag(
            WEIGHT,
            "COUNT",
            "Share of slot time at the LLM API, relative to other keys",
        ),
        flag(
            CLASS,
            "CLASS",
            "Class of its calls at the LLM API: low, normal or high",
        ),
        flag(CONCURRENCY, "COUNT", "Most concurrent calls at the LLM API"),
        flag(QUEUED, "COUNT", "Most waiting calls at the LLM API"),
        flag(REQUESTS, "COUNT", "Most calls a minute at the LLM API"),
        flag(TOKENS, "COUNT", "Most tokens a minute at the LLM API"),
        flag(DAILY, "COUNT", "Most tokens a day at the LLM API"),
    ];
    flags.extend(limit_flags::of_a_key());
    flags
}

/// Returns the flag for a key that may only read: alone it is on.
fn read_only(help: &'static str) -> Arg {
    Arg::new(READ_ONLY)
        .long(READ_ONLY)
        .action(ArgAction::Set)
        .value_parser(clap::value_parser!(String))
        .num_args(0)
        .default_missing_value(ON)
        .help(help)
}

/// Returns the kind of key to create.
pub(super) fn kind_of(matches: &ArgMatches) -> Result<KeyKind, CliError> {
    let word = matches.get_one::<String>(KIND).map_or("", |text| text);
    word.parse()
        .map_err(|error| CliError::Usage(format!("{error}")))
}

/// Returns the key that is named.
pub(super) fn id_of(matches: &ArgMatches) -> Result<KeyId, CliError> {
    let id = matches.get_one::<String>(ID).map_or("", |text| text);
    // A key itself has its id in it, and is what people have at hand; it is never shown.
    if let Ok(key) = llamapool_identity::KeyText::parse(id) {
        return Ok(key.id().clone());
    }
    id.parse()
        .map_err(|error| CliError::Usage(format!("{error}")))
}

/// Returns the duration of a flag.
pub(super) fn duration_of(matches: &ArgMatches, name: &str) -> Result<Option<Duration>, CliError> {
    let text = matches.get_one::<String>(name);
    text.map(|text| humantime::parse_duration(text))
        .transpose()
        .map_err(|_| wrong(name, "a duration, such as 24h"))
}

/// Returns what the flags say of a key.
pub(super) fn changes(matches: &ArgMatches, now: SystemTime) -> Result<Changes, CliError> {
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    let given = OF_CALLERS.into_iter().chain(OF_WORKERS).chain(OF_ADMINS);
    let given = given.chain([IDS]);
    let given = given.chain(limit_flags::of_callers());
    let given = given.filter(|name| text(name).is_some());

    let kinds = text(KINDS).map(|kinds| worker_kinds(&kinds)).transpose()?;
    let is_read_only = text(READ_ONLY).map(|text| match text.as_str() {
        ON => Ok(true),
        OFF => Ok(false),
        _ => Err(wrong(READ_ONLY, "on or off")),
    });
    let class = text(CLASS).map(|class| match class.as_str() {
        "low" => Ok(Class::Low),
        "normal" => Ok(Class::Normal),
        "high" => Ok(Class::High),
        _ => Err(wrong(CLASS, "low, normal or high")),
    });
    let models = text(MODELS).map(|models| {
        let models = model_patterns(&models).map_err(|error| wrong(MODELS, &error.expected))?;
        Ok::<Vec<String>, CliError>(models.into_iter().map(str::to_owned).collect())
    });
    Ok(Changes {
        name: text(NAME).map(|name| named(&name)).transpose()?,
        expires_at: text(EXPIRES).map(|when| expiry(&when, now)).transpose()?,
        ids: text(IDS),
        is_read_only: is_read_only.transpose()?,
        models: models.transpose()?,
        kinds,
        max_ids: count(matches, MAX_IDS)?.map(|count| usize::try_from(count).unwrap_or(usize::MAX)),
        may: text(MAY),
        class: class.transpose()?,
        given: given.collect(),
        matches: matches.clone(),
    })
}

impl Changes {
    /// Returns the rights of a new key.
    pub(super) fn rights_of_new(&self, kind: KeyKind) -> Result<Rights, CliError> {
        let empty = match kind {
            KeyKind::Caller => Rights::Caller(CallerRights::default()),
            KeyKind::Worker => Rights::Worker(WorkerRights::of(Vec::new())),
            KeyKind::Admin => Rights::Admin(AdminRights::default()),
        };
        let rights = self.applied_to(empty)?;
        check(&rights)?;
        Ok(rights)
    }

    /// Returns the rights of a key after the change; `None` if they stay.
    pub(super) fn rights_of(&self, rights: &Rights) -> Result<Option<Rights>, CliError> {
        let changed = self.applied_to(rights.clone())?;
        if changed != *rights {
            check(&changed)?;
        }
        Ok((changed != *rights).then_some(changed))
    }

    fn applied_to(&self, rights: Rights) -> Result<Rights, CliError> {
        let is_foreign = |flag: &&&str| !kinds_of(flag).contains(&rights.kind());
        if let Some(flag) = self.given.iter().find(is_foreign) {
            let kinds: Vec<_> = kinds_of(flag).iter().map(|kind| kind.word()).collect();
            let message = format!("--{flag} is for {} keys", kinds.join(" and "));
            return Err(CliError::Usage(message));
        }

        Ok(match rights {
            Rights::Caller(rights) => {
                let rights = Rights::Caller(self.of_caller(rights)?);
                if let Err(RightsError::ReadsNothing) = rights.check() {
                    check(&rights)?;
                }
                rights
            }
            Rights::Worker(rights) => Rights::Worker(self.of_worker(rights)?),
            Rights::Admin(rights) => Rights::Admin(self.of_admin(rights)?),
        })
    }

    fn of_caller(&self, before: CallerRights) -> Result<CallerRights, CliError> {
        let ids = self.ids.as_deref().map(patterns).transpose()?;
        let ids = ids.unwrap_or(before.ids);
        let mut limits = before.limits;
        limit_flags::change_key(&self.matches, &mut limits)?;
        let mut networks = before.networks;
        limit_flags::change_networks(&self.matches, &mut networks)?;
        Ok(CallerRights {
            ids,
            read_only: self.is_read_only.unwrap_or(before.read_only),
            models: self.models.clone().unwrap_or(before.models),
            llm: self.at_the_llm_api(before.llm)?,
            limits,
            networks,
        })
    }

    fn at_the_llm_api(&self, before: LlmLimits) -> Result<LlmLimits, CliError> {
        let mut limits = before;
        let matches = &self.matches;
        limits.class = self.class.unwrap_or(limits.class);
        change_count(matches, WEIGHT, &mut limits.weight)?;
        change_count(matches, CONCURRENCY, &mut limits.max_concurrency)?;
        change_count(matches, QUEUED, &mut limits.max_queued)?;
        change_count(matches, REQUESTS, &mut limits.requests_per_minute)?;
        change_count(matches, TOKENS, &mut limits.tokens_per_minute)?;
        change_count(matches, DAILY, &mut limits.tokens_per_day)?;
        Ok(limits)
    }

    fn of_admin(&self, before: AdminRights) -> Result<AdminRights, CliError> {
        let may = match self.may.as_deref() {
            None => before.may,
            Some(words) => {
                let words = words.split(',').map(str::trim);
                let rights = words.map(|word| word.parse());
                let rights = rights.collect::<Result<_, _>>();
                rights.map_err(|error| CliError::Usage(format!("--{MAY}: {error}")))?
            }
        };
        let mut networks = before.networks;
        limit_flags::change_networks(&self.matches, &mut networks)?;
        Ok(AdminRights { may, networks })
    }

    fn of_worker(&self, before: WorkerRights) -> Result<WorkerRights, CliError> {
        let ids = match self.ids.as_deref() {
            None => before.ids,
            Some(ASSIGNED) => WorkerIds::Assigned,
            Some(text) => WorkerIds::Of(patterns(text)?),
        };
        let mut networks = before.networks;
        limit_flags::change_networks(&self.matches, &mut networks)?;
        Ok(WorkerRights {
            ids,
            kinds: self.kinds.clone().unwrap_or(before.kinds),
            max_ids: self.max_ids.unwrap_or(before.max_ids),
            networks,
        })
    }
}

/// Returns the kinds of keys that a flag is for.
fn kinds_of(flag: &str) -> &'static [KeyKind] {
    match flag {
        IDS => &[KeyKind::Caller, KeyKind::Worker],
        _ if OF_WORKERS.contains(&flag) => &[KeyKind::Worker],
        _ if OF_ADMINS.contains(&flag) => &[KeyKind::Admin],
        _ => &[KeyKind::Caller],
    }
}

/// Refuses rights that mean nothing, and names the flag that is missing.
fn check(rights: &Rights) -> Result<(), CliError> {
    let message = match rights.check() {
        Ok(()) => return Ok(()),
        Err(RightsError::OpensNothing) => {
            "the key would open nothing: set --ids, such as notes or 'team-*', or --models, such as \
             'qwen*'"
                .to_owned()
        }
        Err(RightsError::ServesNothing) => {
            "the key would serve no id: set --ids, such as notes or '*'".to_owned()
        }
        Err(RightsError::MayNothing) => format!("--{MAY}: expected {RIGHTS}"),
        Err(RightsError::ReadsNothing) => {
            "--read-only is for the ids of a key, and this one has none: set --ids".to_owned()
        }
        Err(error) => error.to_string(),
    };
    Err(CliError::Usage(message))
}

fn patterns(text: &str) -> Result<Vec<Pattern>, CliError> {
    let items = text.split(',').map(str::trim);
    items
        .filter(|item| !item.is_empty())
        .map(|item| {
            item.parse()
                .map_err(|error| CliError::Usage(format!("--{IDS}: {error}")))
        })
        .collect()
}

fn worker_kinds(text: &str) -> Result<Vec<WorkerKind>, CliError> {
    text.split(',')
        .map(|kind| match kind.trim() {
            "mcp" => Ok(WorkerKind::Mcp),
            "llm" => Ok(WorkerKind::Llm),
            _ => Err(wrong(KINDS, "mcp, llm or mcp,llm")),
        })
        .collect()
}

fn named(name: &str) -> Result<String, CliError> {
    let checked = check_key_name(name).map(|()| name.to_owned());
    checked.map_err(|error| CliError::Usage(format!("--{NAME}: {error}")))
}

/// Returns when a key ends; `None`: never.
fn expiry(text: &str, now: SystemTime) -> Result<Option<SystemTime>, CliError> {
    if text == NEVER {
        return Ok(None);
    }
    if let Ok(span) = humantime::parse_duration(text) {
        return Ok(now.checked_add(span));
    }
    let with_time = format!("{text}T00:00:00Z");
    let moment =
        humantime::parse_rfc3339_weak(text).or_else(|_| humantime::parse_rfc3339(&with_time));
    match moment {
        Ok(moment) if moment > now => Ok(Some(moment)),
        Ok(_) => Err(wrong(EXPIRES, "a time that is not over")),
        Err(_) => Err(wrong(
            EXPIRES,
            "a duration such as 90d, a date such as 2027-01-31, or never",
        )),
    }
}

fn count(matches: &ArgMatches, name: &str) -> Result<Option<u64>, CliError> {
    let text = matches.get_one::<String>(name);
    let count = text.map(|text| text.parse::<u64>().ok().filter(|count| *count > 0));
    match count {
        None => Ok(None),
        Some(Some(count)) => Ok(Some(count)),
        Some(None) => Err(wrong(name, "a whole number of at least 1")),
    }
}

fn wrong(flag: &str, expected: &str) -> CliError {
    CliError::Usage(format!("--{flag}: expected {expected}"))
}
