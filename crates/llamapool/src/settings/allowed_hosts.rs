//! The accepted host names of requests, the same setting of every role that listens for callers.

use llamapool_settings::TypedSetting;

use super::address::HOSTS;
use super::group::ACCESS;

/// The accepted host names; none: any, on a loopback address the names of this machine.
pub(super) static ALLOWED_HOSTS: TypedSetting<Vec<String>> = TypedSetting::new(
    "ALLOWED_HOSTS",
    ACCESS,
    HOSTS,
    "Accepted host names of requests (Host header), without port.",
)
.described_default("any; on a loopback address: loopback names");
