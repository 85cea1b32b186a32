//! The events of requests, made where there is a log.

use std::net::IpAddr;
use std::time::Duration;

use llamapool_identity::{AuditEvent, Client, EventKind, Grant};
use llamapool_wire::RelayId;

use super::Audit;
use crate::auth::Principal;

/// A call that a policy of messages denies.
pub(crate) struct DeniedCall<'a> {
    pub(crate) id: &'a RelayId,
    pub(crate) req_id: &'a str,
    pub(crate) principal: &'a Principal,
    pub(crate) address: Option<IpAddr>,
    /// The word for the reason: a policy, or that the message can be read in several ways.
    pub(crate) outcome: &'static str,
    /// The kind of the rule, and what it does not allow: a method, or the name of a tool.
    pub(crate) denied: Option<&'a str>,
}

/// A call that is over.
pub(crate) struct EndedCallLine<'a> {
    pub(crate) id: &'a RelayId,
    pub(crate) req_id: &'a str,
    pub(crate) principal: &'a Principal,
    pub(crate) method: &'static str,
    pub(crate) outcome: &'static str,
    pub(crate) duration: Duration,
    pub(crate) bytes: [u64; 2],
}

/// A call to the LLM API that is over.
pub(crate) struct EndedLlmCall<'a> {
    pub(crate) req_id: &'a str,
    pub(crate) principal: &'a Principal,
    pub(crate) endpoint: &'static str,
    /// The model of the catalogue; `None` if it was not found.
    pub(crate) model: Option<&'a str>,
    pub(crate) outcome: &'static str,
    pub(crate) duration: Duration,
    pub(crate) bytes_in: u64,
}

/// What a person does on the page where a client asks to be allowed.
pub(crate) struct ConsentStep<'a> {
    pub(crate) client: &'a Client,
    /// The id that the client has named. One that was typed is not written: it may be a key in the wrong field.
    pub(crate) id: Option<&'a RelayId>,
    pub(crate) address: Option<IpAddr>,
    pub(crate) req_id: &'a str,
}

impl ConsentStep<'_> {
    /// Writes what was done.
    pub(crate) fn write(&self, audit: &Audit, kind: EventKind) {
        audit.write(|| self.event(kind));
    }

    /// Writes that a credential was accepted and the client is allowed.
    pub(crate) fn write_allowed(&self, audit: &Audit, grant: &Grant) {
        for kind in [EventKind::SignInOk, EventKind::ConsentGiven] {
            let event = || self.event(kind).actor(&grant.approver).id(&grant.resource);
            audit.write(event);
        }
    }

    fn event(&self, kind: EventKind) -> AuditEvent {
        let event = AuditEvent::new(kind)
            .client(self.client.id.as_str())
            .address(self.address)
            .req_id(self.req_id)
            .with("client_name", self.client.name.as_str());
        match self.id {
            Some(id) => event.id(id),
            None => event,
        }
    }
}

impl DeniedCall<'_> {
    pub(crate) fn event(&self) -> AuditEvent {
        AuditEvent::new(EventKind::CallDenied)
            .actor(actor(self.principal))
            .id(self.id)
            .address(self.address)
            .req_id(self.req_id)
            .outcome(self.outcome)
            .with("denied", self.denied)
    }
}

impl EndedCallLine<'_> {
    pub(crate) fn event(&self) -> AuditEvent {
        let [bytes_in, bytes_out] = self.bytes;
        let ms = milliseconds(self.duration);
        AuditEvent::new(EventKind::CallEnded)
            .actor(actor(self.principal))
            .id(self.id)
            .req_id(self.req_id)
            .outcome(self.outcome)
            .with("method", self.method)
            .with("ms", ms)
            .with("bytes_in", bytes_in)
            .with("bytes_out", bytes_out)
    }
}

impl EndedLlmCall<'_> {
    pub(crate) fn event(&self) -> AuditEvent {
        AuditEvent::new(EventKind::CallEnded)
            .actor(actor(self.principal))
            .req_id(self.req_id)
            .outcome(self.outcome)
            .with("endpoint", self.endpoint)
            .with("model", self.model)
            .with("ms", milliseconds(self.duration))
            .with("bytes_in", self.bytes_in)
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Returns who a principal is. A grant is named by its approver and its client.
fn actor(principal: &Principal) -> String {
    match principal {
        Principal::Anonymous => "anonymous".to_owned(),
        Principal::ApiKey => "api_key".to_owned(),
        Principal::Key(key) => {
            let holder = key.holder();
            let binding = holder.binding();
            // That of a grant has its client behind the approver.
            if binding.contains(' ') {
                return binding.replace(' ', " in ");
            }
            format!("key:{binding}")
        }
    }
}
