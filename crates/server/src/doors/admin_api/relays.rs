//! `/api/admin/ids` and `/api/admin/relays`: hold ids and relays back from calls, and close their tunnels.
//!
//! Nothing of it is in the store: a hold ends with the server, and a relay that was kicked may come back.

use std::collections::BTreeSet;
use std::sync::Arc;

use llamapool_identity::{AuditEvent, EventKind};
use llamapool_tunnel::CloseReason;
use serde_json::{Value, json};

use super::error::AdminError;
use super::intake::{AdminRequest, NoQuery};
use super::{AdminDoor, Answer, Deed, report};
use crate::directory::{HoldError, HoldTarget, Member};

/// What is done to an id or a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RelayAction {
    /// It takes no new calls; those that run may end.
    Drain,
    /// It takes calls again.
    Undrain,
    /// Its tunnels are closed, and with them the calls that run.
    Kick,
}

/// The relays that something is done to.
struct Affected {
    members: Vec<Arc<Member>>,
    /// Calls that run on their tunnels.
    calls: usize,
}

impl RelayAction {
    /// Returns the action that a path names.
    pub(super) fn of(word: &str) -> Option<Self> {
        match word {
            "drain" => Some(Self::Drain),
            "undrain" => Some(Self::Undrain),
            "kick" => Some(Self::Kick),
            _ => None,
        }
    }

    fn event(self, target: &HoldTarget) -> EventKind {
        match (self, target) {
            (Self::Drain, HoldTarget::Id(_)) => EventKind::IdDrained,
            (Self::Undrain, HoldTarget::Id(_)) => EventKind::IdUndrained,
            (Self::Drain, HoldTarget::Relay(_)) => EventKind::RelayDrained,
            (Self::Undrain, HoldTarget::Relay(_)) => EventKind::RelayUndrained,
            (Self::Kick, _) => EventKind::RelayKicked,
        }
    }
}

impl AdminDoor {
    /// Shows what an action would hit.
    pub(super) fn show_target(
        &self,
        target: &HoldTarget,
        request: &AdminRequest<'_>,
    ) -> Result<Answer, AdminError> {
        let NoQuery {} = request.query()?;
        let (members, is_held) = self.directory.held(target).ok_or_else(|| missing(target))?;
        let affected = Affected::of(members);
        let mut shown = affected.shown(target, is_held);
        shown["relays"] = self.relays_of(&affected.members);
        Ok(Answer::ok(shown))
    }

    /// Does something to an id or a relay. Doing it again changes nothing.
    pub(super) fn act_on(
        &self,
        target: &HoldTarget,
        action: RelayAction,
        request: &AdminRequest<'_>,
    ) -> Result<Answer, AdminError> {
        let NoQuery {} = request.query()?;
        let affected = match action {
            RelayAction::Drain | RelayAction::Undrain => {
                let is_held = action == RelayAction::Drain;
                let members = self.directory.hold(target, is_held);
                Affected::of(members.map_err(|error| of_hold(error, target))?)
            }
            RelayAction::Kick => {
                let found = self.directory.held(target);
                let (members, _) = found.ok_or_else(|| missing(target))?;
                let affected = Affected::of(members);
                for member in &affected.members {
                    // Of a relay with several ids, all members have one tunnel, which closes once.
                    member.tunnel.end.close(CloseReason::Kicked);
                }
                affected
            }
        };

        self.note(target, action, &affected, request);
        let is_held = self.directory.held(target).is_some_and(|(_, held)| held);
        Ok(Answer::ok(affected.shown(target, is_held)))
    }

    /// Writes what was done into the log and the audit log.
    fn note(
        &self,
        target: &HoldTarget,
        action: RelayAction,
        affected: &Affected,
        request: &AdminRequest<'_>,
    ) {
        let kind = action.event(target);
        let deed = Deed {
            what: kind.word(),
            subject: text(target),
        };
        let is_kick = action == RelayAction::Kick;
        report(request, &deed, if is_kick { affected.calls } else { 0 });

        let key = request.operator.key();
        let actor = key.map_or("api_key".to_owned(), |id| format!("key:{id}"));
        self.auth.audit().write(|| {
            let event = AuditEvent::new(kind)
                .actor(actor)
                .id(affected.ids().join(", "))
                .req_id(request.req_id.as_str())
                .address(self.auth.audited_address(&request.headers, request.peer))
                .with("calls", affected.calls);
            match target {
                HoldTarget::Id(_) => event,
                HoldTarget::Relay(tag) => event.with("relay", tag.to_string()),
            }
        });
    }

    /// Returns the relays of some members, with all their ids.
    fn relays_of(&self, members: &[Arc<Member>]) -> Value {
        let tags: Vec<_> = members.iter().fold(Vec::new(), |mut tags, member| {
            if !tags.contains(&member.tag) {
                tags.push(member.tag);
            }
            tags
        });
        let relays = tags.into_iter().filter_map(|tag| {
            let (members, is_held) = self.directory.held(&HoldTarget::Relay(tag))?;
            let first = members.first()?;
            let ids: BTreeSet<_> = members.iter().map(|it| it.id.as_str()).collect();
            Some(json!({
                "relay_id": tag.to_string(),
                "name": first.identity.name.as_str(),
                "drained": is_held,
                "ids": ids,
                "calls": first.tunnel.in_flight(),
            }))
        });
        relays.collect()
    }
}

impl Affected {
    fn of(members: Vec<Arc<Member>>) -> Self {
        let mut tunnels: Vec<_> = members.iter().map(|member| &member.tunnel).collect();
        tunnels.sort_by_key(|tunnel| Arc::as_ptr(tunnel));
        tunnels.dedup_by(|one, other| Arc::ptr_eq(one, other));
        let calls = tunnels.iter().map(|tunnel| tunnel.in_flight()).sum();
        Self { members, calls }
    }

    fn ids(&self) -> Vec<&str> {
        let ids: BTreeSet<_> = self.members.iter().map(|it| it.id.as_str()).collect();
        ids.into_iter().collect()
    }

    fn shown(&self, target: &HoldTarget, is_held: bool) -> Value {
        let name = match target {
            HoldTarget::Id(_) => "id",
            HoldTarget::Relay(_) => "relay_id",
        };
        json!({
            name: text(target),
            "drained": is_held,
            "connected": self.members.len(),
            "calls": self.calls,
        })
    }
}

fn text(target: &HoldTarget) -> String {
    match target {
        HoldTarget::Id(id) => id.to_string(),
        HoldTarget::Relay(tag) => tag.to_string(),
    }
}

fn missing(target: &HoldTarget) -> AdminError {
    let kind = match target {
        HoldTarget::Id(_) => "id",
        HoldTarget::Relay(_) => "relay",
    };
    AdminError::Missing(format!("{kind} {} with a connection now", text(target)))
}

fn of_hold(error: HoldError, target: &HoldTarget) -> AdminError {
    match error {
        HoldError::Unknown => missing(target),
        HoldError::TooMany => AdminError::TooManyHeld,
    }
}
