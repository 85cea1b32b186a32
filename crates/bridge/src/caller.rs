//! The caller of a request: the owner for which sessions and starts of programs are counted.

use std::net::IpAddr;

use http::{HeaderMap, header};
use llamapool_head::FieldLookup;
use llamapool_limits::{Claim, Owner, ShareError, network_of};
use llamapool_wire::{CallError, CallerTag, Cause, header as wire};

/// The part of what is shared that one network can hold: eight ninths.
const NETWORK_FACTOR: usize = 8;
/// The part that one token of a network can hold: four fifths.
const TOKEN_FACTOR: usize = 4;

/// The caller of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BridgeCaller {
    /// Its network.
    pub(crate) network: Owner,
    /// Its network together with the token that it presents, or with none.
    pub(crate) token: Owner,
    has_token: bool,
}

impl BridgeCaller {
    /// Returns the caller with this tag. Without tags all callers are one.
    pub fn of_tag(tag: Option<CallerTag>) -> Self {
        let network = tag.map(CallerTag::network);
        let credentials = tag.and_then(CallerTag::credentials);
        Self {
            network: Owner::of(&network),
            token: Owner::of(&("token", network, credentials)),
            has_token: credentials.is_some(),
        }
    }

    /// Returns the caller that sent a request from an address.
    pub fn of_request(address: IpAddr, headers: &HeaderMap) -> Self {
        let network = network_of(address);
        let tokens = headers.get_all(header::AUTHORIZATION).into_iter();
        let tokens: Vec<&[u8]> = tokens.map(|value| value.as_bytes()).collect();
        Self {
            network: Owner::of(&network),
            has_token: !tokens.is_empty(),
            token: Owner::of(&("token", network, tokens)),
        }
    }

    /// Returns the caller that the headers of a call name, as the server has sent them.
    pub fn of_tagged(headers: &impl FieldLookup) -> Self {
        let tag = headers.text_of(&wire::CALLER);
        Self::of_tag(tag.and_then(CallerTag::parse))
    }

    /// Returns the claims on what callers share: of the token, and of the network.
    pub fn claims(self) -> [Claim; 2] {
        let factor = if self.has_token {
            TOKEN_FACTOR
        } else {
            NETWORK_FACTOR
        };
        [
            Claim {
                owner: self.token,
                factor,
            },
            Claim {
                owner: self.network,
                factor: NETWORK_FACTOR,
            },
        ]
    }

    /// Returns the failure of a call for which there is no memory. `error` is of an account with
    /// the claims of the caller.
    pub fn out_of_memory(error: ShareError) -> CallError {
        let message = match error {
            ShareError::Full => "the memory for calls is in use, see MAX_MEMORY",
            ShareError::Owner(0 | 1) => {
                "the calls of this caller hold their share of the memory, see MAX_MEMORY"
            }
            ShareError::Owner(_) => {
                "the calls to this id hold their share of the memory, see MAX_MEMORY"
            }
        };
        CallError::new(Cause::RelayMemoryFull, message)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_caller_is_a_network_and_a_token() {
        let caller = |address: [u8; 4], token: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            let token = token.map(HeaderValue::from_static);
            headers.extend(token.map(|token| (header::AUTHORIZATION, token)));
            BridgeCaller::of_request(address.into(), &headers)
        };

        let plain = caller([192, 0, 2, 1], None);
        let alice = caller([192, 0, 2, 1], Some("Bearer alice"));
        let bob = caller([192, 0, 2, 1], Some("Bearer bob"));

        assert_eq!(plain.network, alice.network);
        assert_eq!(alice.network, bob.network);
        assert_ne!(alice.token, bob.token);
        assert_ne!(plain.token, plain.network, "one owner would count twice");
        assert_ne!(caller([192, 0, 2, 2], None).network, plain.network);
    }

    #[test]
    fn equal_tags_are_one_caller_and_no_tags_too() {
        let of =
            |network, credentials| BridgeCaller::of_tag(Some(CallerTag::new(network, credentials)));

        assert_eq!(of(1, Some(2)), of(1, Some(2)));
        assert_ne!(of(1, Some(2)), of(1, Some(3)));
        assert_eq!(of(1, Some(2)).network, of(1, None).network);
        assert_eq!(BridgeCaller::of_tag(None), BridgeCaller::of_tag(None));
        assert_ne!(BridgeCaller::of_tag(None), of(1, None));
    }
}
