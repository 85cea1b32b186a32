//! The settings of the roles as a whole: defaults, meanings, contradictions, and that no secret
//! shows.

mod errors;
mod mcp_servers;
mod providers;

use std::fmt::Debug;
use std::time::Duration;

use llamapool_relay::{
    HttpConfig, ProviderConfig, ProviderKind, ProxySetting, Reconnect, StatusBind,
};
use llamapool_server::{ListenConfig, McpConfig, RelaysConfig, ServerConfig, StateConfig};
use llamapool_settings::{FlagForm, FlagValue, Sources, Syntax, flag_name};
use llamapool_tunnel::TunnelConfig;

use super::*;
use crate::roles::{self, ROLES, Role, RoleSettings};

/// Names and values.
type Pairs<'a> = &'a [(&'a str, &'a str)];

/// The sources of one process in a test.
#[derive(Default)]
struct Given<'a> {
    flags: Pairs<'a>,
    environment: Pairs<'a>,
    file: Option<&'a str>,
}

impl Given<'_> {
    fn resolve(&self, role: &Role) -> Result<RoleSettings, ConfigError> {
        let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
        let environment = self.environment.iter();
        let mut environment: Vec<(String, String)> = environment
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect();
        if let Some(text) = self.file {
            std::fs::write(file.path(), text).unwrap();
            environment.push(("CONFIG_FILE".into(), file.path().to_str().unwrap().into()));
        }
        let flags = self.flags.iter().map(|(name, text)| FlagValue {
            flag: format!("--{}", flag_name(name)),
            setting: role.schema.by_name(name).unwrap(),
            text: (*text).into(),
            form: FlagForm::Value,
        });

        let sources = Sources::collect(role.schema, flags, &environment.into_iter().collect())?;
        (role.resolve)(&sources)
    }

    fn server(&self) -> Result<ServerSettings, ConfigError> {
        match self.resolve(&roles::SERVER)? {
            RoleSettings::Server(settings) => Ok(*settings),
            other => panic!("{other:?}"),
        }
    }

    fn relay(&self) -> Result<RelaySettings, ConfigError> {
        match self.resolve(&roles::RELAY)? {
            RoleSettings::Relay(settings) => Ok(*settings),
            other => panic!("{other:?}"),
        }
    }
}

fn environment(environment: Pairs<'_>) -> Given<'_> {
    Given {
        environment,
        ..Given::default()
    }
}

fn server(pairs: Pairs<'_>) -> ServerSettings {
    environment(pairs).server().unwrap()
}

fn relay(pairs: Pairs<'_>) -> RelaySettings {
    environment(pairs).relay().unwrap()
}

fn server_error(pairs: Pairs<'_>) -> String {
    environment(pairs).server().unwrap_err().to_string()
}

fn relay_error(pairs: Pairs<'_>) -> String {
    environment(pairs).relay().unwrap_err().to_string()
}

fn http(provider: &ProviderConfig) -> &HttpConfig {
    match &provider.kind {
        ProviderKind::Http(http) => http,
        ProviderKind::Stdio(_) | ProviderKind::Llm(_) => panic!("no HTTP provider"),
    }
}

fn debug(value: &impl Debug) -> String {
    format!("{value:?}")
}

#[test]
fn every_declared_setting_is_in_a_group_of_the_help() {
    for role in ROLES {
        let declared: usize = role.schema.sections.iter().map(|list| list.len()).sum();

        assert!(declared > 2);
        assert_eq!(role.schema.settings().count(), declared, "{}", role.name);
    }
}

#[test]
fn no_two_settings_of_a_role_share_a_name() {
    for role in ROLES {
        let settings = role.schema.settings();
        let mut names: Vec<_> = settings.flat_map(|setting| setting.names()).collect();

        let count = names.len();
        names.sort_unstable();
        names.dedup();

        assert_eq!(names.len(), count, "{}", role.name);
    }
}

#[test]
fn every_help_is_one_sentence() {
    for setting in ROLES.iter().flat_map(|role| role.schema.settings()) {
        assert!(setting.help.ends_with('.'), "{}", setting.name);
        assert!(!setting.help.contains('\n'), "{}", setting.name);
    }
}

#[test]
fn flag_before_environment_before_file_before_default() {
    let mut given = Given {
        flags: &[("PORT", "1")],
        environment: &[("PORT", "2")],
        file: Some("port = 3"),
    };
    let port = |given: &Given<'_>| given.server().unwrap().config.listen.bind.port();

    assert_eq!(port(&given), 1);
    given.flags = &[];
    assert_eq!(port(&given), 2);
    given.environment = &[];
    assert_eq!(port(&given), 3);
    given.file = None;
    assert_eq!(port(&given), 8080);
}

#[test]
fn the_file_is_named_by_flag_before_environment() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "port = 4").unwrap();

    let settings = Given {
        flags: &[("CONFIG_FILE", file.path().to_str().unwrap())],
        file: Some("port = 3"),
        ..Given::default()
    };

    let port = settings.server().unwrap().config.listen.bind.port();
    assert_eq!(port, 4);
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let names = roles::SERVER.schema.settings();
    let empty: Vec<_> = names
        .flat_map(|setting| setting.names())
        .map(|name| (name, ""))
        .collect();

    let settings = server(&empty);

    assert_eq!(settings.config.listen.bind.to_string(), "0.0.0.0:8080");
    assert_eq!(settings.generated.len(), 2);
}

#[test]
fn the_defaults_of_the_server_are_those_of_its_crate() {
    let config = server(&[]).config;

    let listen = ListenConfig::new("0.0.0.0:8080".parse().unwrap());
    assert_eq!(debug(&config.listen), debug(&listen));
    assert_eq!(debug(&config.relays), debug(&RelaysConfig::default()));
    assert_eq!(debug(&config.mcp), debug(&McpConfig::default()));
    assert_eq!(debug(&config.state), debug(&StateConfig::default()));
    assert_eq!(config.drain_timeout, ServerConfig::DRAIN_TIMEOUT);
}

#[test]
fn the_defaults_of_the_tunnel_are_those_of_its_crate() {
    let tunnel = relay(&[]).config.tunnel;

    assert_eq!(debug(&tunnel), debug(&TunnelConfig::default()));
}

#[test]
fn a_relay_without_settings_serves_the_default_provider() {
    let config = relay(&[]).config;

    assert_eq!(
        config.dial.server_url,
        "ws://localhost:8080/api/mcp/connect"
    );
    assert_eq!(config.dial.connect_timeout, Duration::from_secs(10));
    assert_eq!(config.reconnect, Reconnect::Never);
    assert_eq!(
        config.status.bind,
        StatusBind::Default("127.0.0.1:4555".parse().unwrap())
    );
    assert_eq!(config.drain_timeout, Duration::from_secs(60));
    assert!(config.identity.worker_key.is_none());
    assert!(!config.identity.name.as_str().is_empty());

    let [provider] = &config.providers[..] else {
        panic!("{} providers", config.providers.len())
    };
    assert!(provider.id.is_none());
    assert!(provider.auth_token.is_none());
    let http = http(provider);
    assert_eq!(http.url, "http://127.0.0.1:7777/mcp/");
    assert!(http.headers.is_empty());
    assert_eq!(http.connect_timeout, Duration::from_secs(10));
    assert_eq!(http.probe_interval, Duration::from_secs(10));
    assert_eq!(http.redirect_replay_bytes, 1 << 20);
}

/// The variables that the first walkthrough sets for both processes.
const WALKTHROUGH: [(&str, &str); 3] = [
    ("API_KEY", "test123"),
    ("WORKER_KEY", "secret"),
    ("CLIENT_ID", "mcp-1234"),
];

#[test]
fn the_environment_of_the_walkthrough_works_for_a_server() {
    let own = [("PORT", "8080"), ("METRICS_PORT", "9090")];

    let config = server(&[&WALKTHROUGH[..], &own].concat()).config;

    let metrics = config.listen.metrics_bind;
    assert_eq!(metrics, Some("0.0.0.0:9090".parse().unwrap()));
    assert!(config.auth.keys.api.unwrap().matches(b"test123"));
    assert!(config.auth.keys.worker.unwrap().matches(b"secret"));
}

#[test]
fn the_environment_of_the_walkthrough_works_for_a_relay() {
    let own = [
        ("SERVER_URL", "ws://server:8080/api/mcp/connect"),
        ("WORKER_NAME", "Alpha"),
        ("PROVIDER_URL", "http://clock:7777/mcp/"),
    ];
    let given = Given {
        environment: &[&WALKTHROUGH[..], &own].concat(),
        flags: &[("RECONNECT", "true")],
        file: None,
    };

    let config = given.relay().unwrap().config;

    let id = config.providers[0].id.as_ref().unwrap();
    assert_eq!(id.as_str(), "mcp-1234");
    assert_eq!(config.identity.name.as_str(), "Alpha");
    let reconnect = Reconnect::Forever {
        exits_on_refusal: false,
        min: Duration::from_secs(1),
        max: Duration::from_secs(30),
        stable_after: Duration::from_secs(10),
    };
    assert_eq!(config.reconnect, reconnect);
}

#[test]
fn missing_keys_are_generated() {
    let settings = server(&[]);

    let [GeneratedKey::Api(api), GeneratedKey::Worker(worker)] = &settings.generated[..] else {
        panic!("{:?}", settings.generated)
    };
    let keys = settings.config.auth.keys;
    assert!(keys.api.unwrap().matches(api.expose().as_bytes()));
    assert!(keys.worker.unwrap().matches(worker.expose().as_bytes()));
    assert_ne!(api.expose(), worker.expose());
}

#[test]
fn a_key_that_is_set_is_not_generated() {
    let one = server(&[("API_KEY", "mine")]).generated;
    let none = server(&[("API_KEY", "a"), ("CLIENT_KEY", "b")]).generated;

    assert!(matches!(&one[..], [GeneratedKey::Worker(_)]), "{one:?}");
    assert!(none.is_empty());
}

#[test]
fn without_auth_there_are_no_keys() {
    let settings = server(&[("NO_AUTH", "yes")]);

    assert!(settings.config.auth.keys.api.is_none());
    assert!(settings.config.auth.keys.worker.is_none());
    assert!(settings.generated.is_empty());
}

#[test]
fn without_auth_a_key_is_an_error() {
    let error = |name| server_error(&[("NO_AUTH", "1"), (name, "hunter2")]);

    assert_eq!(
        error("API_KEY"),
        "NO_AUTH cannot be combined with API_KEY: use only one"
    );
    assert_eq!(
        error("CLIENT_KEY"),
        "NO_AUTH cannot be combined with WORKER_KEY: use only one"
    );
    let with_auth = environment(&[("NO_AUTH", "false"), ("API_KEY", "hunter2")]);
    assert!(with_auth.server().is_ok());
}

#[test]
fn a_servers_metrics_on_another_port_have_a_listener() {
    let bind = |metrics| {
        let settings = server(&[("METRICS_PORT", metrics), ("BIND_ADDR", "::1")]);
        settings.config.listen.metrics_bind
    };

    assert_eq!(bind("8080"), None);
    assert_eq!(bind("9090"), Some("[::1]:9090".parse().unwrap()));
}

#[test]
fn two_listeners_on_any_free_port_are_two() {
    let settings = server(&[("PORT", "0"), ("METRICS_PORT", "0")]);

    let metrics = settings.config.listen.metrics_bind;
    assert_eq!(metrics, Some("0.0.0.0:0".parse().unwrap()));
}

#[test]
fn a_relays_metrics_are_on_the_ip_of_its_status() {
    let bind = |status, metrics| {
        let settings = relay(&[("STATUS_ADDR", status), ("METRICS_PORT", metrics)]);
        settings.config.status.metrics_bind.unwrap().to_string()
    };

    assert_eq!(bind("10.0.0.1:4555", "9090"), "10.0.0.1:9090");
    assert_eq!(bind("off", "9090"), "127.0.0.1:9090");
    assert_eq!(bind("off", "0.0.0.0:9090"), "0.0.0.0:9090");

    let same = relay(&[("METRICS_PORT", "4555")]).config.status;
    assert_eq!(same.metrics_bind, None);
}

#[test]
fn an_explicit_status_address_is_required() {
    let bind = |text| relay(&[("STATUS_ADDR", text)]).config.status.bind;

    let explicit = StatusBind::Required("127.0.0.1:4555".parse().unwrap());
    assert_eq!(bind("127.0.0.1:4555"), explicit);
    assert_eq!(bind("off"), StatusBind::Off);
}

#[test]
fn proxies_have_conventional_names() {
    let proxies = relay(&[
        ("https_proxy", "http://a"),
        ("HTTP_PROXY", " "),
        ("all_proxy", "anything at all"),
        ("no_proxy", "d,e"),
    ])
    .config
    .dial
    .proxies;
    let shown = |proxy: Option<ProxySetting>| {
        proxy.map(|proxy| (proxy.url.expose().to_owned(), proxy.set_by))
    };
    let by = |url: &str, variable: &str| {
        Some((url.to_owned(), format!("environment variable {variable}")))
    };

    assert_eq!(shown(proxies.https), by("http://a", "https_proxy"));
    assert_eq!(shown(proxies.http), None, "a blank one is none");
    assert_eq!(shown(proxies.all), by("anything at all", "all_proxy"));
    assert_eq!(proxies.exceptions.unwrap(), "d,e");
    assert!(relay(&[]).config.dial.proxies.all.is_none());
}

#[test]
fn lists_are_separated_by_commas_or_arrays() {
    let given = Given {
        environment: &[("ALLOWED_HOSTS", "a.example, b.example")],
        file: Some(
            "allowed_hosts = 'c.example'\n\
             allowed_origins = ['https://a.example', 'https://b.example']",
        ),
        ..Given::default()
    };

    let auth = given.server().unwrap().config.auth;

    assert_eq!(auth.allowed_hosts, ["a.example", "b.example"]);
    let origins = ["https://a.example", "https://b.example"];
    assert_eq!(auth.allowed_origins, origins);
}

#[test]
fn trusted_proxies_are_addresses_or_networks() {
    let given = server(&[("TRUSTED_PROXIES", "10.0.0.0/8, 192.0.2.1,fd00::/8")]);

    let networks = given.config.listen.trusted_proxies.iter();
    let networks: Vec<_> = networks.map(ToString::to_string).collect();
    assert_eq!(networks, ["10.0.0.0/8", "192.0.2.1/32", "fd00::/8"]);
    assert!(server(&[]).config.listen.trusted_proxies.is_empty());
    let error = server_error(&[("TRUSTED_PROXIES", "10.0.0.0/33")]);
    assert!(
        error.contains("10.0.0.0/33") && error.contains("IP addresses or networks"),
        "{error}"
    );
}

#[test]
fn the_number_of_starting_programs_is_of_the_process() {
    let program = ("PROVIDER_COMMAND", "/bin/cat");

    assert_eq!(relay(&[program]).config.max_starting, None);
    let relay = relay(&[program, ("PROVIDER_MAX_STARTING", "3")]);
    assert_eq!(relay.config.max_starting, Some(3));

    let settings = [
        program,
        ("PROVIDER_MAX_STARTING", "5"),
        ("MAX_CONNECTIONS", "7"),
    ];
    let bridge = match environment(&settings).resolve(&roles::BRIDGE).unwrap() {
        RoleSettings::Bridge(settings) => settings.http,
        other => panic!("{other:?}"),
    };
    assert_eq!((bridge.max_starting, bridge.max_connections), (Some(5), 7));
}

#[test]
fn no_secret_of_a_server_shows_in_debug_output() {
    let given = server(&[("API_KEY", "hunter2"), ("WORKER_KEY", "hunter3")]);
    let generated = server(&[]);

    assert!(!debug(&given).contains("hunter"));
    let (GeneratedKey::Api(key) | GeneratedKey::Worker(key)) = &generated.generated[0];
    assert!(!debug(&generated).contains(key.expose()));
}

#[test]
fn no_secret_of_a_relay_shows_in_debug_output() {
    let settings = relay(&[
        ("WORKER_KEY", "hunter2"),
        ("CLIENT_SECRET", "hunter2"),
        ("AUTH_TOKEN", "hunter2"),
        ("STATUS_TOKEN", "hunter2"),
        ("PROVIDER_HEADERS", "Authorization: Bearer hunter2"),
        ("HTTPS_PROXY", "http://me:hunter2@proxy:3128"),
    ]);

    assert!(!debug(&settings).contains("hunter2"));
    assert!(!debug(&settings.config.providers).contains("hunter2"));
}
