//! The kinds of events, and the words for them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The kind of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// A key was created.
    KeyCreated,
    /// The name, the rights or the expiry of a key was changed.
    KeyChanged,
    /// A key got another secret.
    KeyRotated,
    /// A key was revoked.
    KeyRevoked,
    /// A key has expired.
    KeyExpired,
    /// A rule of access was set or removed.
    AccessChanged,
    /// An OAuth client has registered itself.
    ClientRegistered,
    /// The operator added an OAuth client, or one with a document got its first grant.
    ClientAdded,
    /// The operator removed an OAuth client that was added.
    ClientRemoved,
    /// An OAuth client was blocked.
    ClientBlocked,
    /// An OAuth client was unblocked.
    ClientUnblocked,
    /// A key or a one-time code was accepted on the consent page.
    SignInOk,
    /// A key or a one-time code was not accepted there.
    SignInFailed,
    /// Too many that were wrong came from one address.
    SignInThrottled,
    /// A person allowed a client.
    ConsentGiven,
    /// A person refused a client.
    ConsentDenied,
    /// A grant was stored.
    GrantCreated,
    /// The code of a grant was redeemed.
    GrantRedeemed,
    /// A grant took its next turn.
    GrantRefreshed,
    /// A code or a refresh token was presented again, long after it was replaced.
    GrantReuse,
    /// A grant has ended.
    GrantEnded,
    /// An id belongs to other relays now.
    IdEpoch,
    /// Credentials were refused: how many in a minute, by reason.
    CredentialRefused,
    /// A relay has connected.
    RelayConnected,
    /// A relay was refused.
    RelayRefused,
    /// The tunnel of a relay was ended, because its key has ended.
    RelayRevoked,
    /// An operator holds an id back from calls.
    IdDrained,
    /// An id takes calls again.
    IdUndrained,
    /// An operator holds a relay back from calls.
    RelayDrained,
    /// A relay takes calls again.
    RelayUndrained,
    /// An operator closed the tunnels of a relay, or of the relays of an id.
    RelayKicked,
    /// A message of a caller was refused by a policy.
    CallDenied,
    /// A call is over.
    CallEnded,
    /// A certificate is presented from now on.
    CertificateObtained,
    /// A certificate could not be obtained or read.
    CertificateFailed,
    /// The certificate files were read again, because the operator asked for it.
    CertificatesReloaded,
    /// The keys and the rules of access that the settings declare were read again.
    SettingsReloaded,
    /// A server began to write the log.
    AuditOpened,
    /// The log goes on in another file.
    AuditRotated,
    /// Old files of the log are removed.
    AuditRemoved,
    /// Events could not be written.
    AuditLost,
    /// A server ended.
    AuditClosed,
}

/// A text that is no kind of event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no kind of event")]
pub struct EventKindError(String);

impl EventKind {
    /// All kinds.
    pub const ALL: [Self; 42] = [
        Self::KeyCreated,
        Self::KeyChanged,
        Self::KeyRotated,
        Self::KeyRevoked,
        Self::KeyExpired,
        Self::AccessChanged,
        Self::ClientRegistered,
        Self::ClientAdded,
        Self::ClientRemoved,
        Self::ClientBlocked,
        Self::ClientUnblocked,
        Self::SignInOk,
        Self::SignInFailed,
        Self::SignInThrottled,
        Self::ConsentGiven,
        Self::ConsentDenied,
        Self::GrantCreated,
        Self::GrantRedeemed,
        Self::GrantRefreshed,
        Self::GrantReuse,
        Self::GrantEnded,
        Self::IdEpoch,
        Self::CredentialRefused,
        Self::RelayConnected,
        Self::RelayRefused,
        Self::RelayRevoked,
        Self::IdDrained,
        Self::IdUndrained,
        Self::RelayDrained,
        Self::RelayUndrained,
        Self::RelayKicked,
        Self::CallDenied,
        Self::CallEnded,
        Self::CertificateObtained,
        Self::CertificateFailed,
        Self::CertificatesReloaded,
        Self::SettingsReloaded,
        Self::AuditOpened,
        Self::AuditRotated,
        Self::AuditRemoved,
        Self::AuditLost,
        Self::AuditClosed,
    ];

    /// Returns the word for it in a line.
    pub fn word(self) -> &'static str {
        match self {
            Self::KeyCreated => "key.created",
            Self::KeyChanged => "key.changed",
            Self::KeyRotated => "key.rotated",
            Self::KeyRevoked => "key.revoked",
            Self::KeyExpired => "key.expired",
            Self::AccessChanged => "access.changed",
            Self::ClientRegistered => "client.registered",
            Self::ClientAdded => "client.added",
            Self::ClientRemoved => "client.removed",
            Self::ClientBlocked => "client.blocked",
            Self::ClientUnblocked => "client.unblocked",
            Self::SignInOk => "sign_in.ok",
            Self::SignInFailed => "sign_in.failed",
            Self::SignInThrottled => "sign_in.throttled",
            Self::ConsentGiven => "consent.given",
            Self::ConsentDenied => "consent.denied",
            Self::GrantCreated => "grant.created",
            Self::GrantRedeemed => "grant.redeemed",
            Self::GrantRefreshed => "grant.refreshed",
            Self::GrantReuse => "grant.reuse",
            Self::GrantEnded => "grant.ended",
            Self::IdEpoch => "id.epoch",
            Self::CredentialRefused => "credential.refused",
            Self::RelayConnected => "relay.connected",
            Self::RelayRefused => "relay.refused",
            Self::RelayRevoked => "relay.revoked",
            Self::IdDrained => "id.drained",
            Self::IdUndrained => "id.undrained",
            Self::RelayDrained => "relay.drained",
            Self::RelayUndrained => "relay.undrained",
            Self::RelayKicked => "relay.kicked",
            Self::CallDenied => "call.denied",
            Self::CallEnded => "call.ended",
            Self::CertificateObtained => "certificate.obtained",
            Self::CertificateFailed => "certificate.failed",
            Self::CertificatesReloaded => "certificates.reloaded",
            Self::SettingsReloaded => "settings.reloaded",
            Self::AuditOpened => "audit.opened",
            Self::AuditRotated => "audit.rotated",
            Self::AuditRemoved => "audit.removed",
            Self::AuditLost => "audit.lost",
            Self::AuditClosed => "audit.closed",
        }
    }

    /// Returns whether its line must be durable at once: a change of keys, grants or access.
    pub fn is_urgent(self) -> bool {
        matches!(
            self,
            Self::KeyCreated
                | Self::KeyChanged
                | Self::KeyRotated
                | Self::KeyRevoked
                | Self::KeyExpired
                | Self::AccessChanged
                | Self::SettingsReloaded
                | Self::ClientRemoved
                | Self::ClientBlocked
                | Self::ClientUnblocked
                | Self::GrantCreated
                | Self::GrantRedeemed
                | Self::GrantRefreshed
                | Self::GrantReuse
                | Self::GrantEnded
                | Self::IdEpoch
        )
    }

    /// Returns whether any sender can cause it as often as it likes, so that its lines must be bounded.
    pub fn is_of_strangers(self) -> bool {
        matches!(
            self,
            Self::SignInFailed
                | Self::SignInThrottled
                | Self::ConsentDenied
                | Self::RelayRefused
                | Self::CallDenied
        )
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for EventKind {
    type Err = EventKindError;

    fn from_str(text: &str) -> Result<Self, EventKindError> {
        let found = Self::ALL.into_iter().find(|kind| kind.word() == text);
        found.ok_or_else(|| EventKindError(text.chars().take(100).collect()))
    }
}

impl Serialize for EventKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

impl<'de> Deserialize<'de> for EventKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_survives_its_word() {
        for kind in EventKind::ALL {
            assert_eq!(kind.word().parse(), Ok(kind));
        }
        assert!("key.forgotten".parse::<EventKind>().is_err());
    }
}
