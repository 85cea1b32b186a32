//! Settings of the own authorization server.

use std::time::Duration;

use llamapool_identity::{ClientOrigin, RedirectPolicy, ReusePolicy};
use llamapool_server::{DataDirConfig, ListenConfig, SignInConfig, check_public_url};
use llamapool_settings::value::{SWITCH, expected, items};
use llamapool_settings::{Setting, Sources, Syntax, TypedSetting, ValueError, ValueType};

use crate::settings::address::HOSTS;
use crate::settings::error::ConfigError;
use crate::settings::group::ACCESS;

/// The life of an access token. Seconds are for trying how a client refreshes.
const TTL: ValueType<Duration> = ValueType {
    syntax: Syntax::Duration,
    parse: ttl,
};
/// What is done with a refresh token that was replaced.
const REUSE: ValueType<ReusePolicy> = ValueType {
    syntax: Syntax::Choice("end|refuse"),
    parse: |text| {
        let found = ReusePolicy::ALL
            .into_iter()
            .find(|policy| policy.word() == text.trim());
        found.map_or_else(|| expected("end or refuse"), Ok)
    },
};
/// The ways in which a client may have become known.
const ORIGINS: ValueType<Vec<ClientOrigin>> = ValueType {
    syntax: Syntax::List,
    parse: origins,
};
/// Private schemes of redirects.
const SCHEMES: ValueType<Vec<String>> = ValueType {
    syntax: Syntax::List,
    parse: |text| items(text).map(scheme).collect(),
};

static SIGN_IN: TypedSetting<bool> = TypedSetting::new(
    "SIGN_IN",
    ACCESS,
    SWITCH,
    "Lets clients such as Claude sign in: the server is an OAuth authorization server for its ids. \
     Needs PUBLIC_URL and DATA_DIR.",
)
.default("false");
static ACCESS_TTL: TypedSetting<Duration> = TypedSetting::new(
    "ACCESS_TTL",
    ACCESS,
    TTL,
    "Life of an access token. A revocation acts at once, whatever this is.",
)
.default("8h");
static REFRESH_REUSE: TypedSetting<ReusePolicy> = TypedSetting::new(
    "REFRESH_REUSE",
    ACCESS,
    REUSE,
    "What happens when a refresh token is used that was replaced long ago, as a thief would: end \
     (the client must sign in again) or refuse (only that token fails).",
)
.default("end");
static CLIENTS: TypedSetting<Vec<ClientOrigin>> = TypedSetting::new(
    "CLIENTS",
    ACCESS,
    ORIGINS,
    "Clients that can sign in: document (their id is the https URL of a document about them, which \
     the server fetches), registered (they register themselves), known (the operator added them). \
     A server that cannot reach the internet should leave out document.",
)
.default("document,registered,known");
static REDIRECT_HOSTS: TypedSetting<Vec<String>> = TypedSetting::new(
    "REDIRECT_HOSTS",
    ACCESS,
    HOSTS,
    "Hosts of the https addresses that a sign-in can lead back to, such as claude.ai.",
)
.described_default("any; the page shows it");
static REDIRECT_SCHEMES: TypedSetting<Vec<String>> = TypedSetting::new(
    "REDIRECT_SCHEMES",
    ACCESS,
    SCHEMES,
    "Private schemes of apps that a sign-in can lead back to, beside cursor, vscode, \
     vscode-insiders and windsurf.",
);

/// The settings declared here.
pub(super) static SETTINGS: &[&Setting] = &[
    &SIGN_IN.setting,
    &ACCESS_TTL.setting,
    &REFRESH_REUSE.setting,
    &CLIENTS.setting,
    &REDIRECT_HOSTS.setting,
    &REDIRECT_SCHEMES.setting,
];

/// Returns the configuration; `None` if sign-in is off.
pub(super) fn resolve(
    sources: &Sources,
    listen: &ListenConfig,
    data_dir: &DataDirConfig,
) -> Result<Option<SignInConfig>, ConfigError> {
    let mut redirects = RedirectPolicy::default();
    for host in sources.value(&REDIRECT_HOSTS)? {
        redirects.allow_host(&host);
    }
    for scheme in sources.value(&REDIRECT_SCHEMES)? {
        // Its form was checked when it was read.
        let _ = redirects.allow_scheme(&scheme);
    }
    let config = SignInConfig {
        access_ttl: sources.value(&ACCESS_TTL)?,
        refresh_reuse: sources.value(&REFRESH_REUSE)?,
        clients: sources.value(&CLIENTS)?,
        redirects,
        ..SignInConfig::default()
    };
    if !sources.value(&SIGN_IN)? {
        return Ok(None);
    }

    check_public_url(listen.public_url.as_ref()).map_err(ConfigError::SignInUrl)?;
    match data_dir {
        DataDirConfig::None | DataDirConfig::NoPlace => Err(ConfigError::SignInWithoutDataDir),
        DataDirConfig::Default(_) | DataDirConfig::Required(_) => Ok(Some(config)),
    }
}

/// Returns whether sign-in is on.
pub(super) fn is_on(sources: &Sources) -> Result<bool, ConfigError> {
    Ok(sources.value(&SIGN_IN)?)
}

fn ttl(text: &str) -> Result<Duration, ValueError> {
    let most = SignInConfig::MAX_ACCESS_TTL;
    let ttl = (llamapool_settings::value::POSITIVE_DURATION.parse)(text)?;
    if ttl < Duration::from_secs(1) || ttl > most {
        return expected("a duration from 1s to 24h");
    }
    Ok(ttl)
}

fn origins(text: &str) -> Result<Vec<ClientOrigin>, ValueError> {
    let origins: Option<Vec<_>> = items(text).map(|word| word.parse().ok()).collect();
    let origins = origins.filter(|origins| !origins.is_empty());
    origins.map_or_else(
        || expected("document, registered and known, or some of them, separated by commas"),
        Ok,
    )
}

/// Parses a private scheme. Those that browsers run or open themselves are no private ones.
fn scheme(text: &str) -> Result<String, ValueError> {
    let scheme = text.trim_end_matches(':').to_ascii_lowercase();
    match RedirectPolicy::default().allow_scheme(&scheme) {
        Ok(()) => Ok(scheme),
        Err(_) => expected("schemes of apps such as zed, separated by commas"),
    }
}

#[cfg(test)]
mod tests {
    use llamapool_identity::AccessMode;

    use super::*;
    use crate::settings::{Environment, SERVER, ServerSettings};

    fn resolved(settings: &[(&str, &str)]) -> Result<ServerSettings, String> {
        let environment: Environment = settings.iter().copied().collect();
        let sources = Sources::collect(&SERVER, [], &environment).map_err(|e| e.to_string())?;
        ServerSettings::resolve(&sources).map_err(|error| error.to_string())
    }

    const ON: (&str, &str) = ("SIGN_IN", "on");
    const HTTPS: (&str, &str) = ("PUBLIC_URL", "https://pool.example");
    const DATA: (&str, &str) = ("DATA_DIR", "/var/lib/llamapool");

    #[test]
    fn sign_in_needs_a_public_url_and_a_data_directory() {
        let error = |settings: &[(&str, &str)]| resolved(settings).err().unwrap_or_default();

        assert!(error(&[ON, DATA]).starts_with("SIGN_IN needs PUBLIC_URL"));
        let plain = error(&[ON, DATA, ("PUBLIC_URL", "http://pool.example")]);
        assert!(plain.contains("begins with https"), "{plain}");
        let none = error(&[ON, HTTPS, ("DATA_DIR", "off")]);
        assert!(none.starts_with("SIGN_IN needs DATA_DIR"), "{none}");
        let pages = error(&[ON, HTTPS, DATA, ("TRUSTED_PAGES", "notes")]);
        assert!(pages.starts_with("SIGN_IN cannot be combined"), "{pages}");
        assert_eq!(error(&[ON, HTTPS, DATA]), "");
        let loopback = ("PUBLIC_URL", "http://127.0.0.1:8080");
        assert_eq!(error(&[ON, loopback, DATA]), "");
    }

    #[test]
    fn ids_ask_for_a_sign_in_where_it_is_on() {
        let access =
            |settings: &[(&str, &str)]| resolved(settings).unwrap().config.identity.default_access;

        assert_eq!(access(&[ON, HTTPS, DATA]), AccessMode::SignIn);
        assert_eq!(access(&[HTTPS, DATA]), AccessMode::Open);
        let keys = ("MCP_ACCESS", "keys");
        assert_eq!(access(&[ON, HTTPS, DATA, keys]), AccessMode::Keys);
        let refused = resolved(&[("MCP_ACCESS", "sign-in"), DATA]).unwrap_err();
        assert!(refused.contains("SIGN_IN"), "{refused}");
    }

    #[test]
    fn values_have_bounds() {
        for wrong in ["0", "500ms", "25h"] {
            assert!(ttl(wrong).is_err(), "{wrong}");
        }
        assert_eq!(ttl("3s"), Ok(Duration::from_secs(3)));
        for wrong in ["javascript", "JavaScript:", "https", "a b", "", "1a"] {
            assert!(scheme(wrong).is_err(), "{wrong}");
        }
        assert_eq!(scheme("Zed:"), Ok("zed".to_owned()));
        for wrong in ["", "all", "known,other"] {
            assert!(origins(wrong).is_err(), "{wrong}");
        }
        let some = origins("known, document").unwrap();
        assert_eq!(some, [ClientOrigin::Known, ClientOrigin::Document]);
    }
}
