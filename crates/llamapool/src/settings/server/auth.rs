//! Settings of the keys, and of the accepted values of `Origin` and `Host`.
//!
//! A server is open only if `NO_AUTH` is on: a key that is not set is generated.

use http::Uri;
use http::uri::Scheme;
use llamapool_server::{AuthConfig, Keys, LlmAccess};
use llamapool_settings::value::{SWITCH, expected};
use llamapool_settings::{Setting, Sources, Syntax, TypedSetting, ValueType};
use llamapool_wire::Secret;

use crate::settings::address::ORIGINS;
use crate::settings::allowed_hosts::ALLOWED_HOSTS;
use crate::settings::error::ConfigError;
use crate::settings::group::ACCESS;
use crate::settings::value::SECRET;
use crate::weak_keys::is_weak;

/// A key that was not set.
#[derive(Debug, Clone)]
pub enum GeneratedKey {
    /// The key of the state API.
    Api(Secret),
    /// The key of the relays.
    Worker(Secret),
}

/// What the LLM API asks of its callers.
const LLM_MODE: ValueType<LlmAccess> = ValueType {
    syntax: Syntax::Text,
    parse: |text| match text.trim() {
        "open" => Ok(LlmAccess::Open),
        "keys" => Ok(LlmAccess::Keys),
        _ => expected("open or keys"),
    },
};

static API_KEY: TypedSetting<Secret> = TypedSetting::new(
    "API_KEY",
    ACCESS,
    SECRET,
    "Key for the state API, the LLM API, and for the metrics of single ids.",
)
.described_default("generated and logged");
static WORKER_KEY: TypedSetting<Secret> = TypedSetting::new(
    "WORKER_KEY",
    ACCESS,
    SECRET,
    "Key for relays to connect with.",
)
.aliases(&["CLIENT_KEY"])
.described_default("generated and logged");
static SESSION_KEY: TypedSetting<Secret> = TypedSetting::new(
    "SESSION_KEY",
    ACCESS,
    SECRET,
    "Encrypts the session ids of ids that several relays share; use the same key on all replicas.",
)
.described_default("a key in DATA_DIR; without it, random for each run");
static LLM_ACCESS: TypedSetting<LlmAccess> = TypedSetting::new(
    "LLM_ACCESS",
    ACCESS,
    LLM_MODE,
    "What the LLM API asks of its callers: open (nothing; keys make no difference) or keys (API_KEY, or a \
     caller key that opens the model).",
)
.described_default("keys; open with NO_AUTH and no [[key]] table for models");
static NO_AUTH: TypedSetting<bool> = TypedSetting::new(
    "NO_AUTH",
    ACCESS,
    SWITCH,
    "Runs without API_KEY and WORKER_KEY: anyone who reaches the server can connect relays and read its \
     state.",
)
.default("false");
static ALLOW_WEAK_KEYS: TypedSetting<bool> = TypedSetting::new(
    "ALLOW_WEAK_KEYS",
    ACCESS,
    SWITCH,
    "Starts with keys of fewer than 16 characters although PUBLIC_URL is https; they can be guessed.",
)
.default("false");
static ALLOWED_ORIGINS: TypedSetting<Vec<String>> = TypedSetting::new(
    "ALLOWED_ORIGINS",
    ACCESS,
    ORIGINS,
    "Browser origins that can call (CORS), such as https://inspector.example, or * for all.",
);

/// The settings declared here.
pub(super) static SETTINGS: &[&Setting] = &[
    &API_KEY.setting,
    &WORKER_KEY.setting,
    &SESSION_KEY.setting,
    &LLM_ACCESS.setting,
    &NO_AUTH.setting,
    &ALLOW_WEAK_KEYS.setting,
    &ALLOWED_ORIGINS.setting,
    &ALLOWED_HOSTS.setting,
];

/// Returns the configuration, and adds each generated key to `generated`.
pub(super) fn resolve(
    sources: &Sources,
    generated: &mut Vec<GeneratedKey>,
) -> Result<AuthConfig, ConfigError> {
    let keys = if sources.value(&NO_AUTH)? {
        keys_without_auth(sources)?
    } else {
        keys(sources, generated)?
    };

    Ok(AuthConfig {
        keys,
        llm_access: sources.explicit(&LLM_ACCESS)?,
        allowed_origins: sources.value(&ALLOWED_ORIGINS)?,
        allowed_hosts: sources.value(&ALLOWED_HOSTS)?,
    })
}

/// Refuses keys that can be guessed on a server with a public URL.
pub(super) fn check_keys(
    sources: &Sources,
    keys: &Keys,
    public_url: Option<&Uri>,
) -> Result<(), ConfigError> {
    let is_public = public_url.is_some_and(|url| url.scheme() == Some(&Scheme::HTTPS));
    let are_allowed = sources.value(&ALLOW_WEAK_KEYS)?;
    if !is_public || are_allowed {
        return Ok(());
    }

    let named = [
        (API_KEY.setting.name, &keys.api),
        (WORKER_KEY.setting.name, &keys.worker),
        (SESSION_KEY.setting.name, &keys.session),
    ];
    let weak = named
        .into_iter()
        .find(|(_, key)| key.as_ref().is_some_and(is_weak));
    weak.map_or(Ok(()), |(name, _)| Err(ConfigError::WeakKey(name)))
}

fn keys_without_auth(sources: &Sources) -> Result<Keys, ConfigError> {
    for key in [&API_KEY, &WORKER_KEY] {
        if sources.explicit(key)?.is_some() {
            return Err(ConfigError::KeyWithoutAuth(key.setting.name));
        }
    }

    Ok(Keys {
        session: sources.explicit(&SESSION_KEY)?,
        ..Keys::default()
    })
}

fn keys(sources: &Sources, generated: &mut Vec<GeneratedKey>) -> Result<Keys, ConfigError> {
    let mut generate = |kind: fn(Secret) -> GeneratedKey| {
        let secret = Secret::random();
        generated.push(kind(secret.clone()));
        secret
    };

    let api = sources.explicit(&API_KEY)?;
    let api = api.unwrap_or_else(|| generate(GeneratedKey::Api));
    let worker = sources.explicit(&WORKER_KEY)?;
    let worker = worker.unwrap_or_else(|| generate(GeneratedKey::Worker));

    Ok(Keys {
        api: Some(api),
        worker: Some(worker),
        session: sources.explicit(&SESSION_KEY)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Environment, SERVER, ServerSettings};

    fn error(settings: &[(&str, &str)]) -> Option<String> {
        let environment: Environment = settings.iter().copied().collect();
        let sources = Sources::collect(&SERVER, [], &environment).unwrap();
        let resolved = ServerSettings::resolve(&sources);
        resolved.err().map(|error| error.to_string())
    }

    #[test]
    fn a_public_server_does_not_start_with_a_weak_key() {
        let https = ("PUBLIC_URL", "https://pool.example");
        let weak = ("API_KEY", "test123");

        let refused = error(&[https, weak]).unwrap();
        let expected = "API_KEY has fewer than 16 characters and PUBLIC_URL is https";
        assert!(refused.starts_with(expected), "{refused}");
        assert!(!refused.contains("test123"), "{refused}");
        let worker = error(&[https, ("WORKER_KEY", "secret")]).unwrap();
        assert!(worker.starts_with("WORKER_KEY has"), "{worker}");

        assert_eq!(error(&[https]), None, "generated keys are strong");
        assert_eq!(error(&[https, weak, ("ALLOW_WEAK_KEYS", "1")]), None);
        assert_eq!(error(&[weak, ("WORKER_KEY", "secret")]), None);
        assert_eq!(error(&[("PUBLIC_URL", "http://pool.example"), weak]), None);
    }
}
