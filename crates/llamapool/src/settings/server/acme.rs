//! Settings of certificates that an authority issues by ACME.

use std::path::PathBuf;

use http::Uri;
use http::uri::Scheme;
use llamapool_server::{
    AcmeConfig, AcmeDirectory, CheckKind, DataDirConfig, DomainName, DomainNameError,
    ExternalAccount,
};
use llamapool_settings::value::{PATH, TEXT, expected, items};
use llamapool_settings::{
    Setting, SettingsError, Sources, Syntax, TypedSetting, ValueError, ValueType,
};
use llamapool_wire::Secret;

use crate::settings::error::ConfigError;
use crate::settings::group::{ACCESS, MAIN};
use crate::settings::value::SECRET;

/// The most names of a certificate. Let's Encrypt puts no more into one.
const MAX_NAMES: usize = 100;

/// The ways in which the authority may check a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Challenge {
    Auto,
    Only(CheckKind),
}

const DOMAINS: ValueType<Vec<DomainName>> = ValueType {
    syntax: Syntax::List,
    parse: domains,
};
const DIRECTORY: ValueType<AcmeDirectory> = ValueType {
    syntax: Syntax::Text,
    parse: directory,
};
const CHALLENGE: ValueType<Challenge> = ValueType {
    syntax: Syntax::Text,
    parse: |text| match text.trim() {
        "auto" => Ok(Challenge::Auto),
        "tls-alpn-01" => Ok(Challenge::Only(CheckKind::TlsAlpn)),
        "http-01" => Ok(Challenge::Only(CheckKind::Http)),
        _ => expected("auto, tls-alpn-01 or http-01"),
    },
};

static ACME_DOMAINS: TypedSetting<Vec<DomainName>> = TypedSetting::new(
    "ACME_DOMAINS",
    MAIN,
    DOMAINS,
    "DNS names of this server, such as pool.example: a certificate for them is ordered from an \
     authority and renewed. PORT is then 443 and HTTP_PORT 80, unless PORT is set.",
);
static ACME_EMAIL: TypedSetting<Option<String>> = TypedSetting::new(
    "ACME_EMAIL",
    MAIN,
    TEXT,
    "E-mail address that the authority may write to about the certificates.",
);
static ACME_DIRECTORY: TypedSetting<AcmeDirectory> = TypedSetting::new(
    "ACME_DIRECTORY",
    ACCESS,
    DIRECTORY,
    "The authority: letsencrypt, letsencrypt-staging for tests, or the URL of a directory.",
)
.default("letsencrypt");
static ACME_CA_FILE: TypedSetting<Option<PathBuf>> = TypedSetting::new(
    "ACME_CA_FILE",
    ACCESS,
    PATH,
    "PEM file with the certificates by which a private authority is trusted, beside the public ones.",
);
static ACME_EAB_KEY_ID: TypedSetting<Option<String>> = TypedSetting::new(
    "ACME_EAB_KEY_ID",
    ACCESS,
    TEXT,
    "Id of the key of an account that you have with the authority (external account binding).",
);
static ACME_EAB_KEY: TypedSetting<Secret> = TypedSetting::new(
    "ACME_EAB_KEY",
    ACCESS,
    SECRET,
    "That key, in Base64 for URLs, as the authority shows it.",
);
static ACME_PROFILE: TypedSetting<Option<String>> = TypedSetting::new(
    "ACME_PROFILE",
    ACCESS,
    TEXT,
    "Profile of the certificates, such as shortlived, where the authority offers several.",
)
.described_default("the authority's");
static ACME_CHALLENGE: TypedSetting<Challenge> = TypedSetting::new(
    "ACME_CHALLENGE",
    ACCESS,
    CHALLENGE,
    "How the authority checks the names: tls-alpn-01 on port 443, http-01 on port 80, or auto: \
     tls-alpn-01, and http-01 after a failure if there is HTTP_PORT.",
)
.default("auto");

/// The settings declared here.
pub(super) static SETTINGS: &[&Setting] = &[
    &ACME_DOMAINS.setting,
    &ACME_EMAIL.setting,
    &ACME_DIRECTORY.setting,
    &ACME_CA_FILE.setting,
    &ACME_EAB_KEY_ID.setting,
    &ACME_EAB_KEY.setting,
    &ACME_PROFILE.setting,
    &ACME_CHALLENGE.setting,
];

/// Returns whether certificates are ordered.
pub(super) fn is_set(sources: &Sources) -> Result<bool, SettingsError> {
    let domains = sources.explicit(&ACME_DOMAINS)?;
    Ok(domains.is_some_and(|domains| !domains.is_empty()))
}

/// Returns what is ordered, `None` if nothing is. The check over plain HTTP needs a port for it.
pub(super) fn resolve(
    sources: &Sources,
    has_http_port: bool,
) -> Result<Option<AcmeConfig>, ConfigError> {
    if !is_set(sources)? {
        return only_with_domains(sources).map(|()| None);
    }
    let mut names = sources.value(&ACME_DOMAINS)?;
    names.sort();
    names.dedup();
    if names.len() > MAX_NAMES {
        return Err(ConfigError::TooManyDomains(names.len(), MAX_NAMES));
    }

    let checks = match sources.value(&ACME_CHALLENGE)? {
        Challenge::Only(CheckKind::Http) if !has_http_port => {
            return Err(ConfigError::ChallengeWithoutHttpPort);
        }
        Challenge::Only(kind) => vec![kind],
        Challenge::Auto if has_http_port => vec![CheckKind::TlsAlpn, CheckKind::Http],
        Challenge::Auto => vec![CheckKind::TlsAlpn],
    };
    Ok(Some(AcmeConfig {
        names,
        email: sources.value(&ACME_EMAIL)?,
        directory: sources.value(&ACME_DIRECTORY)?,
        ca_file: sources.value(&ACME_CA_FILE)?,
        external_account: external_account(sources)?,
        profile: sources.value(&ACME_PROFILE)?,
        checks,
    }))
}

/// Refuses a server whose account and certificates would be lost at every restart: the limits of
/// authorities are used up within a day then.
pub(super) fn check_data_dir(
    acme: Option<&AcmeConfig>,
    data_dir: &DataDirConfig,
) -> Result<(), ConfigError> {
    match data_dir {
        DataDirConfig::None | DataDirConfig::NoPlace if acme.is_some() => {
            Err(ConfigError::AcmeWithoutDataDir)
        }
        _ => Ok(()),
    }
}

/// Refuses settings that have no effect, which are most often a mistake.
fn only_with_domains(sources: &Sources) -> Result<(), ConfigError> {
    // What is wrong in itself is reported as such.
    sources.explicit(&ACME_DIRECTORY)?;
    sources.explicit(&ACME_CA_FILE)?;
    sources.explicit(&ACME_EAB_KEY)?;
    sources.explicit(&ACME_CHALLENGE)?;
    for setting in SETTINGS.iter().skip(1) {
        if sources.location(setting).is_some() {
            return Err(ConfigError::AcmeWithoutDomains(setting.name));
        }
    }
    Ok(())
}

fn external_account(sources: &Sources) -> Result<Option<ExternalAccount>, ConfigError> {
    let id = sources.value(&ACME_EAB_KEY_ID)?;
    let key = sources.explicit(&ACME_EAB_KEY)?;
    match (id, key) {
        (Some(id), Some(key)) => {
            let account = ExternalAccount::new(id, key.expose());
            account
                .map(Some)
                .map_err(|_| ConfigError::ExternalAccountKey)
        }
        (None, None) => Ok(None),
        (Some(_), None) => Err(ConfigError::HalfOfExternalAccount {
            set: ACME_EAB_KEY_ID.setting.name,
            missing: ACME_EAB_KEY.setting.name,
        }),
        (None, Some(_)) => Err(ConfigError::HalfOfExternalAccount {
            set: ACME_EAB_KEY.setting.name,
            missing: ACME_EAB_KEY_ID.setting.name,
        }),
    }
}

fn domains(text: &str) -> Result<Vec<DomainName>, ValueError> {
    let names = items(text).map(|item| {
        item.parse().or_else(|error| {
            let wrong = match error {
                DomainNameError::Address(_) => "is an IP address",
                DomainNameError::Wildcard(_) => "is a wildcard, which is checked by DNS alone",
                DomainNameError::Invalid(_) => "is none",
            };
            expected(format!(
                "DNS names such as pool.example, and {item:?} {wrong}"
            ))
        })
    });
    names.collect()
}

fn directory(text: &str) -> Result<AcmeDirectory, ValueError> {
    match text.trim() {
        "letsencrypt" => Ok(AcmeDirectory::LetsEncrypt),
        "letsencrypt-staging" => Ok(AcmeDirectory::LetsEncryptStaging),
        url => {
            let parsed = url.parse::<Uri>().ok();
            let parsed = parsed.filter(|url| url.scheme() == Some(&Scheme::HTTPS));
            let has_user = |url: &Uri| {
                let authority = url.authority();
                authority.is_some_and(|authority| authority.as_str().contains('@'))
            };
            match parsed {
                Some(parsed) if parsed.host().is_some() && !has_user(&parsed) => {
                    Ok(AcmeDirectory::Url(url.to_owned()))
                }
                _ => {
                    expected("letsencrypt, letsencrypt-staging, or a URL that begins with https://")
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::server::sources_of_file;

    fn resolved(file: &str, has_http_port: bool) -> Result<Option<AcmeConfig>, String> {
        let sources = sources_of_file(file)?;
        resolve(&sources, has_http_port).map_err(|error| error.to_string())
    }

    #[test]
    fn names_are_all_that_is_needed() {
        let acme = resolved(
            "acme_domains = [\"b.example.com\", \"a.example.com\"]\n",
            true,
        );
        let acme = acme.unwrap().unwrap();

        let names: Vec<&str> = acme.names.iter().map(DomainName::as_str).collect();
        assert_eq!(names, ["a.example.com", "b.example.com"]);
        assert_eq!(acme.directory, AcmeDirectory::LetsEncrypt);
        assert_eq!(acme.checks, [CheckKind::TlsAlpn, CheckKind::Http]);
        assert!(resolved("", true).unwrap().is_none());
    }

    #[test]
    fn wrong_values_are_named_with_what_was_expected() {
        let domains = "acme_domains = [\"pool.example\"]\n";
        let error = |file: &str| resolved(file, false).unwrap_err();
        let with = |line: &str| error(&format!("{domains}{line}\n"));

        for (found, part) in [
            (
                error("acme_domains = [\"203.0.113.7\"]\n"),
                "is an IP address",
            ),
            (error("acme_domains = [\"*.pool.example\"]\n"), "wildcard"),
            (
                error("acme_domains = [\"localhost\"]\n"),
                "\"localhost\" is none",
            ),
            (error("acme_email = \"me@example.com\"\n"), "ACME_DOMAINS"),
            (with("acme_directory = \"http://ca.example\""), "https://"),
            (
                with("acme_directory = \"https://me:pw@ca.example\""),
                "https://",
            ),
            (
                with("acme_challenge = \"dns-01\""),
                "tls-alpn-01 or http-01",
            ),
            (with("acme_challenge = \"http-01\""), "HTTP_PORT"),
            (with("acme_eab_key_id = \"kid\""), "ACME_EAB_KEY is not"),
            (
                with("acme_eab_key = \"c2VjcmV0\""),
                "ACME_EAB_KEY_ID is not",
            ),
        ] {
            assert!(found.contains(part), "{found}");
        }
    }

    #[test]
    fn the_key_of_an_external_account_is_in_no_error() {
        let file = "acme_domains = [\"pool.example\"]\nacme_eab_key_id = \"kid\"\n\
                    acme_eab_key = \"not Base64!\"\n";
        let error = resolved(file, false).unwrap_err();

        assert!(error.contains("ACME_EAB_KEY"), "{error}");
        assert!(!error.contains("not Base64!"), "{error}");
    }

    #[test]
    fn a_server_that_remembers_nothing_orders_nothing() {
        let acme = resolved("acme_domains = [\"pool.example\"]\n", false).unwrap();
        let check = |data_dir| check_data_dir(acme.as_ref(), &data_dir).is_ok();

        assert!(!check(DataDirConfig::None));
        assert!(!check(DataDirConfig::NoPlace));
        assert!(check(DataDirConfig::Default("/a".into())));
        assert!(check_data_dir(None, &DataDirConfig::None).is_ok());
    }
}
