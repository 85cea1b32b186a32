//! Networks that a key or an id is for.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// The most networks of one list.
const MAX_NETWORKS: usize = 100;

/// Networks of addresses. An empty list is every address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Networks(Vec<IpNet>);

/// The reasons why a text is no list of networks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworksError {
    /// An entry is no network.
    #[error("{0:?} is no network, expected an IP address or one with a length, such as 10.0.0.0/8")]
    Entry(String),
    /// Bits behind the length are set: the entry means less, or more, than it seems to.
    #[error("{found} has bits behind its length, expected {}", found.trunc())]
    Bits {
        /// The entry.
        found: IpNet,
    },
    /// There are more than one list has.
    #[error("there are {0} networks, expected {MAX_NETWORKS} at most")]
    TooMany(usize),
}

impl Networks {
    /// Returns whether they admit an address; `None` is one that is not known. IPv4 addresses that are
    /// mapped into IPv6 are those of IPv4.
    pub fn admit(&self, address: Option<IpAddr>) -> bool {
        if self.0.is_empty() {
            return true;
        }
        address.is_some_and(|address| {
            let address = address.to_canonical();
            self.0.iter().any(|network| network.contains(&address))
        })
    }

    /// Returns whether every address is admitted.
    pub fn is_all(&self) -> bool {
        self.0.is_empty()
    }

    fn of<'a>(entries: impl Iterator<Item = &'a str>) -> Result<Self, NetworksError> {
        let networks = entries.map(network).collect::<Result<Vec<_>, _>>()?;
        if networks.len() > MAX_NETWORKS {
            return Err(NetworksError::TooMany(networks.len()));
        }
        Ok(Self(networks))
    }
}

/// Parses a list with commas; an empty one is every address.
impl FromStr for Networks {
    type Err = NetworksError;

    fn from_str(text: &str) -> Result<Self, NetworksError> {
        let entries = text.split(',').map(str::trim);
        Self::of(entries.filter(|entry| !entry.is_empty()))
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.clone().into();
        f.write_str(&texts.join(","))
    }
}

impl TryFrom<Vec<String>> for Networks {
    type Error = NetworksError;

    fn try_from(entries: Vec<String>) -> Result<Self, NetworksError> {
        Self::of(entries.iter().map(String::as_str))
    }
}

impl From<Networks> for Vec<String> {
    fn from(networks: Networks) -> Self {
        networks.0.iter().map(IpNet::to_string).collect()
    }
}

fn network(text: &str) -> Result<IpNet, NetworksError> {
    let address = text.parse::<IpAddr>().map(IpNet::from);
    let network = address.or_else(|_| text.parse::<IpNet>());
    let network = network.map_err(|_| NetworksError::Entry(text.chars().take(60).collect()))?;
    if network.trunc() != network {
        return Err(NetworksError::Bits { found: network });
    }
    Ok(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(networks: &str, address: &str) -> bool {
        let networks: Networks = networks.parse().unwrap();
        networks.admit(Some(address.parse().unwrap()))
    }

    #[test]
    fn networks_admit_their_addresses_alone() {
        let office = "192.0.2.0/24, 2001:db8::/32,203.0.113.7";

        for inside in [
            "192.0.2.9",
            "::ffff:192.0.2.9",
            "2001:db8:1::1",
            "203.0.113.7",
        ] {
            assert!(admits(office, inside), "{inside}");
        }
        for outside in ["192.0.3.9", "203.0.113.8", "2001:db9::1", "::1"] {
            assert!(!admits(office, outside), "{outside}");
        }
        assert!(!office.parse::<Networks>().unwrap().admit(None));
    }

    #[test]
    fn no_networks_admit_every_address() {
        let all = Networks::default();

        assert!(all.is_all() && all.admit(None));
        assert_eq!("".parse(), Ok(all));
        assert!(admits("", "192.0.2.1"));
    }

    #[test]
    fn a_list_survives_its_text_and_its_record() {
        let networks: Networks = "10.0.0.0/8,192.0.2.7".parse().unwrap();

        assert_eq!(networks.to_string(), "10.0.0.0/8,192.0.2.7/32");
        assert_eq!(networks.to_string().parse(), Ok(networks.clone()));
        let record = serde_json::to_string(&networks).unwrap();
        assert_eq!(serde_json::from_str::<Networks>(&record).unwrap(), networks);
    }

    #[test]
    fn a_wrong_entry_is_named() {
        let error = |text: &str| text.parse::<Networks>().unwrap_err().to_string();

        assert!(error("10.0.0.0/8,office").starts_with("\"office\" is no network"));
        assert!(error("10.0.0.0/33").starts_with("\"10.0.0.0/33\" is no network"));
        assert_eq!(
            error("10.1.2.3/8"),
            "10.1.2.3/8 has bits behind its length, expected 10.0.0.0/8"
        );
        let many = vec!["10.0.0.1"; 101].join(",");
        assert_eq!(error(&many), "there are 101 networks, expected 100 at most");
    }
}
