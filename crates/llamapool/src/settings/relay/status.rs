//! Settings of the relay's status server.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use llamapool_relay::{StatusBind, StatusConfig};
use llamapool_settings::{Setting, SettingsError, Sources, TypedSetting};
use llamapool_wire::Secret;

use crate::settings::address::{ANY_PORT, LISTEN, Listen, METRICS, MetricsAddress};
use crate::settings::group::STATUS;
use crate::settings::value::SECRET;

static STATUS_ADDR: TypedSetting<Listen> = TypedSetting::new(
    "STATUS_ADDR",
    STATUS,
    LISTEN,
    "Address of the status server, or off; the default address is skipped if it is in use.",
)
.default("127.0.0.1:4555");
static STATUS_TOKEN: TypedSetting<Secret> = TypedSetting::new(
    "STATUS_TOKEN",
    STATUS,
    SECRET,
    "Bearer token for the status server, required of other machines; without it, anyone who reaches \
     it reads status and ids.",
);
static METRICS_PORT: TypedSetting<Option<MetricsAddress>> = TypedSetting::new(
    "METRICS_PORT",
    STATUS,
    METRICS,
    "Another port for /metrics, on the IP address of STATUS_ADDR, or an IP address with a port.",
);

/// The settings declared here.
pub(in crate::settings) static SETTINGS: &[&Setting] = &[
    &STATUS_ADDR.setting,
    &STATUS_TOKEN.setting,
    &METRICS_PORT.setting,
];

/// Returns the configuration of the status server.
pub(in crate::settings) fn resolve(sources: &Sources) -> Result<StatusConfig, SettingsError> {
    let bind = match sources.explicit(&STATUS_ADDR)? {
        Some(Listen::Off) => StatusBind::Off,
        Some(Listen::On(address)) => StatusBind::Required(address),
        None => match sources.value(&STATUS_ADDR)? {
            Listen::Off => StatusBind::Off,
            Listen::On(address) => StatusBind::Default(address),
        },
    };
    let address = match bind {
        StatusBind::Off => None,
        StatusBind::Required(address) | StatusBind::Default(address) => Some(address),
    };

    Ok(StatusConfig {
        bind,
        token: sources.explicit(&STATUS_TOKEN)?,
        metrics_bind: metrics_bind(sources, address)?,
    })
}

/// Returns the address of a listener for the metrics alone, `None` if the status server is there
/// already.
fn metrics_bind(
    sources: &Sources,
    status: Option<SocketAddr>,
) -> Result<Option<SocketAddr>, SettingsError> {
    let ip = status.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| address.ip());

    let metrics = match sources.value(&METRICS_PORT)? {
        None => return Ok(None),
        Some(MetricsAddress::Port(port)) => SocketAddr::new(ip, port),
        Some(MetricsAddress::Address(address)) => address,
    };

    let is_separate = Some(metrics) != status || metrics.port() == ANY_PORT;
    Ok(Some(metrics).filter(|_| is_separate))
}
