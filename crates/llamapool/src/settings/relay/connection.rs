//! Settings of the connection to the server: identity, proxies, reconnecting. Its address is a
//! setting of each role that connects.

use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use llamapool_relay::{DialConfig, Identity, ProxySetting, ProxySettings, Reconnect};
use llamapool_settings::value::{DURATION, PATH, POSITIVE_DURATION, SWITCH, TEXT};
use llamapool_settings::{Naming, Setting, SettingsError, Sources, TypedSetting};
use llamapool_wire::{DisplayName, Secret};

use crate::settings::group::{ACCESS, MAIN, NETWORK, TIME};
use crate::settings::url::PROXY_URL;
use crate::settings::value::{NAME, SECRET};

static WORKER_KEY: TypedSetting<Secret> = TypedSetting::new(
    "WORKER_KEY",
    MAIN,
    SECRET,
    "Key that the server expects of relays.",
)
.aliases(&["CLIENT_KEY"]);
static WORKER_NAME: TypedSetting<DisplayName> =
    TypedSetting::new("WORKER_NAME", MAIN, NAME, "Display name of the relay.")
        .aliases(&["CLIENT_NAME"])
        .described_default("host name");
static RECONNECT: TypedSetting<bool> = TypedSetting::new(
    "RECONNECT",
    MAIN,
    SWITCH,
    "Reconnects whenever the connection is refused or lost, instead of exiting.",
)
.short('r')
.default("false");
static EXIT_ON_REFUSAL: TypedSetting<bool> = TypedSetting::new(
    "EXIT_ON_REFUSAL",
    MAIN,
    SWITCH,
    "With RECONNECT: exits if the server refuses the relay for good, as for a wrong key, instead of trying again.",
)
.default("false");
static CLIENT_SECRET: TypedSetting<Secret> = TypedSetting::new(
    "CLIENT_SECRET",
    ACCESS,
    SECRET,
    "Relays with the same secret share their ids.",
);
static CA_FILE: TypedSetting<Option<PathBuf>> = TypedSetting::new(
    "CA_FILE",
    NETWORK,
    PATH,
    "PEM file with CA certificates to trust besides the public ones.",
);
static HTTPS_PROXY: TypedSetting<Option<String>> = TypedSetting::new(
    "HTTPS_PROXY",
    NETWORK,
    PROXY_URL,
    "Proxy for wss and https servers: http, https, socks5 or socks5h.",
)
.naming(Naming::Conventional);
static HTTP_PROXY: TypedSetting<Option<String>> = TypedSetting::new(
    "HTTP_PROXY",
    NETWORK,
    PROXY_URL,
    "Proxy for ws and http servers.",
)
.naming(Naming::Conventional);
static ALL_PROXY: TypedSetting<Option<String>> = TypedSetting::new(
    "ALL_PROXY",
    NETWORK,
    PROXY_URL,
    "Proxy for servers of a kind that has none of its own.",
)
.naming(Naming::Conventional);
static NO_PROXY: TypedSetting<Option<String>> = TypedSetting::new(
    "NO_PROXY",
    NETWORK,
    TEXT,
    "Hosts to connect to without a proxy, separated by commas: names, IP addresses, prefixes, each with an optional port, or *.",
)
.naming(Naming::Conventional);
pub(in crate::settings) static CONNECT_TIMEOUT: TypedSetting<Duration> = TypedSetting::new(
    "CONNECT_TIMEOUT",
    TIME,
    POSITIVE_DURATION,
    "Longest time to connect, to the server and to a provider.",
)
.default("10s");
static RECONNECT_MIN: TypedSetting<Duration> = TypedSetting::new(
    "RECONNECT_MIN",
    TIME,
    POSITIVE_DURATION,
    "Upper bound of the first random wait before reconnecting; it doubles with each attempt.",
)
.default("1s");
static RECONNECT_MAX: TypedSetting<Duration> = TypedSetting::new(
    "RECONNECT_MAX",
    TIME,
    POSITIVE_DURATION,
    "Largest upper bound of the wait before reconnecting.",
)
.default("30s");
static RECONNECT_STABLE_AFTER: TypedSetting<Duration> = TypedSetting::new(
    "RECONNECT_STABLE_AFTER",
    TIME,
    DURATION,
    "A connection that lasted this long resets the wait before reconnecting.",
)
.default("10s");

/// The settings declared here.
pub(in crate::settings) static SETTINGS: &[&Setting] = &[
    &WORKER_KEY.setting,
    &WORKER_NAME.setting,
    &RECONNECT.setting,
    &EXIT_ON_REFUSAL.setting,
    &CLIENT_SECRET.setting,
    &CA_FILE.setting,
    &HTTPS_PROXY.setting,
    &HTTP_PROXY.setting,
    &ALL_PROXY.setting,
    &NO_PROXY.setting,
    &CONNECT_TIMEOUT.setting,
    &RECONNECT_MIN.setting,
    &RECONNECT_MAX.setting,
    &RECONNECT_STABLE_AFTER.setting,
];

/// Returns the identity of the relay, by default named after the host.
pub(in crate::settings) fn identity(sources: &Sources) -> Result<Identity, SettingsError> {
    let name = sources
        .explicit(&WORKER_NAME)?
        .filter(|name| !name.as_str().is_empty());
    let host_name = || DisplayName::new(&gethostname::gethostname().to_string_lossy());

    Ok(Identity {
        name: name.unwrap_or_else(host_name),
        worker_key: sources.explicit(&WORKER_KEY)?,
        client_secret: sources.explicit(&CLIENT_SECRET)?,
    })
}

/// Returns the configuration of dialling the server, whose URL is a setting of each role.
pub(in crate::settings) fn dial(
    sources: &Sources,
    server_url: &TypedSetting<Uri>,
) -> Result<DialConfig, SettingsError> {
    Ok(DialConfig {
        server_url: sources.value(server_url)?,
        connect_timeout: sources.value(&CONNECT_TIMEOUT)?,
        ca_file: sources.value(&CA_FILE)?,
        proxies: ProxySettings {
            https: proxy(sources, &HTTPS_PROXY)?,
            http: proxy(sources, &HTTP_PROXY)?,
            all: proxy(sources, &ALL_PROXY)?,
            exceptions: sources.value(&NO_PROXY)?,
        },
    })
}

/// Returns a proxy as it was set, and not yet whether it is one: it may not be meant for the relay.
fn proxy(
    sources: &Sources,
    setting: &TypedSetting<Option<String>>,
) -> Result<Option<ProxySetting>, SettingsError> {
    let url = sources.value(setting)?;
    let set_by = sources.location(&setting.setting);
    Ok(url.zip(set_by).map(|(url, set_by)| ProxySetting {
        url: Secret::new(url),
        set_by: set_by.to_string(),
    }))
}

/// Returns the configuration of reconnecting. The waits are checked although it may be off.
pub(in crate::settings) fn reconnect(sources: &Sources) -> Result<Reconnect, SettingsError> {
    let min = sources.value(&RECONNECT_MIN)?;
    let max = sources.value(&RECONNECT_MAX)?;
    let stable_after = sources.value(&RECONNECT_STABLE_AFTER)?;
    let exits_on_refusal = sources.value(&EXIT_ON_REFUSAL)?;
    if max < min {
        return Err(SettingsError::Contradiction {
            setting: RECONNECT_MAX.setting.name,
            value: format!("{max:?}"),
            expected: format!("at least {}, which is {min:?}", RECONNECT_MIN.setting.name),
        });
    }

    if !sources.value(&RECONNECT)? {
        return Ok(Reconnect::Never);
    }
    Ok(Reconnect::Forever {
        min,
        max,
        stable_after,
        exits_on_refusal,
    })
}
