//! How an authority may check that this server has a name.

use std::collections::BTreeMap;
use std::fmt;

use super::name::DomainName;

/// A way to check a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckKind {
    /// By a handshake on port 443 (RFC 8737).
    TlsAlpn,
    /// By a request to port 80 (RFC 8555, section 8.3).
    Http,
}

impl fmt::Display for CheckKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TlsAlpn => "tls-alpn-01",
            Self::Http => "http-01",
        })
    }
}

/// The ways that this server can answer, the preferred one first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Checks {
    pub(super) kinds: Vec<CheckKind>,
    /// The tries that failed by each name, one after the other.
    pub(super) failures: BTreeMap<DomainName, u32>,
}

impl Checks {
    /// Returns the way to check a name, of those that the authority offers. After a failure it is the
    /// next one's turn: a name may be reachable by one port and not by the other.
    pub(super) fn choose(&self, name: &DomainName, offered: &[CheckKind]) -> Option<CheckKind> {
        let kinds = self.kinds.iter().copied();
        let usable: Vec<CheckKind> = kinds.filter(|kind| offered.contains(kind)).collect();
        let failures = self.failures.get(name).copied().unwrap_or_default();
        let turn = usize::try_from(failures).unwrap_or_default();
        let turn = turn.checked_rem(usable.len())?;
        usable.get(turn).copied()
    }

    /// Returns all ways, for messages.
    pub(super) fn wanted(&self) -> String {
        let kinds: Vec<String> = self.kinds.iter().map(CheckKind::to_string).collect();
        kinds.join(" or ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_failure_the_other_way_is_tried() {
        let name: DomainName = "pool.example".parse().unwrap();
        let both = [CheckKind::TlsAlpn, CheckKind::Http];
        let checks = |failures| Checks {
            kinds: both.to_vec(),
            failures: [(name.clone(), failures)].into(),
        };

        assert_eq!(checks(0).choose(&name, &both), Some(CheckKind::TlsAlpn));
        assert_eq!(checks(1).choose(&name, &both), Some(CheckKind::Http));
        assert_eq!(checks(2).choose(&name, &both), Some(CheckKind::TlsAlpn));
        let only_http = [CheckKind::Http];
        assert_eq!(checks(0).choose(&name, &only_http), Some(CheckKind::Http));
        assert_eq!(checks(0).choose(&name, &[]), None);
    }
}
