//! Records as the commands and the administration API show them, as JSON. Nothing here has a secret, or
//! its SHA-256.

use std::time::SystemTime;

use serde_json::{Value, json};

use crate::access::AccessRule;
use crate::client::Client;
use crate::grant::{EndReason, Grant, GrantState};
use crate::key::Key;
use crate::redirect::RedirectUri;
use crate::usage::Usage;

/// Returns a moment in UTC, to the second.
pub fn shown_time(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(at).to_string()
}

impl Key {
    /// Returns the key as JSON.
    pub fn shown(&self, now: SystemTime) -> Value {
        // The one that ends last is the newest.
        let mut secrets: Vec<_> = self.secrets.iter().map(|it| it.expires_at).collect();
        secrets.sort_by_key(|ends| (ends.is_none(), *ends));
        let secrets = secrets
            .into_iter()
            .map(|ends| json!({ "expires_at": ends.map(shown_time) }));
        json!({
            "id": self.id.as_str(),
            "kind": self.kind().word(),
            "name": self.name,
            "status": self.status(now),
            "rights": self.rights,
            "created_at": shown_time(self.created_at),
            "expires_at": self.expires_at.map(shown_time),
            "revoked_at": self.revoked_at.map(shown_time),
            "last_used_at": self.last_used_at.map(shown_time),
            "secrets": secrets.collect::<Vec<_>>(),
        })
    }

    /// Returns the key as JSON, with what it has used today and in this month.
    pub fn shown_with_usage(&self, [today, month]: &[Usage; 2], now: SystemTime) -> Value {
        let mut shown = self.shown(now);
        if let Some(members) = shown.as_object_mut() {
            members.insert("used_today".to_owned(), json!(today));
            members.insert("used_this_month".to_owned(), json!(month));
        }
        shown
    }

    /// Returns the word for whether it is valid.
    pub fn status(&self, now: SystemTime) -> &'static str {
        if self.revoked_at.is_some() {
            "revoked"
        } else if self.is_valid(now) {
            "valid"
        } else {
            "expired"
        }
    }
}

impl AccessRule {
    /// Returns the rule as JSON.
    pub fn shown(&self) -> Value {
        json!({
            "pattern": self.pattern,
            "access": self.mode.word(),
            "messages": self.messages,
            "limits": self.limits,
        })
    }
}

impl Client {
    /// Returns the client as JSON, with the number of its grants.
    pub fn shown(&self, grants: usize) -> Value {
        let redirects: Vec<_> = self.redirects.iter().map(RedirectUri::as_str).collect();
        json!({
            "id": self.id.as_str(),
            "origin": self.origin.word(),
            "name": self.name,
            "redirect_uris": redirects,
            "token_endpoint_auth_method": self.auth_method.word(),
            "grants": grants,
            "status": self.status(),
            "created_at": shown_time(self.created_at),
            "granted_at": self.granted_at.map(shown_time),
            "blocked_at": self.blocked_at.map(shown_time),
        })
    }

    /// Returns the word for whether people can sign in with it.
    pub fn status(&self) -> &'static str {
        match self.blocked_at {
            Some(_) => "blocked",
            None => "allowed",
        }
    }
}

impl Grant {
    /// Returns the grant as JSON, with the name of its client.
    pub fn shown(&self, client_name: Option<&str>, now: SystemTime) -> Value {
        json!({
            "id": self.id.to_string(),
            "client": self.client.as_str(),
            "client_name": client_name,
            "resource": self.resource.as_str(),
            "approver": self.approver.to_string(),
            "scope": self.scope.word(),
            "status": self.status(now),
            "refreshes": self.turns.turn,
            "created_at": shown_time(self.created_at),
            "last_used_at": self.last_used_at.map(shown_time),
            "ends_at": shown_time(self.end()),
        })
    }

    /// Returns the word for where it is in its life; once it has ended, why.
    pub fn status(&self, now: SystemTime) -> &'static str {
        match self.state {
            GrantState::Ended(why) => why.word(),
            _ if self.has_expired(now) => EndReason::Expired.word(),
            GrantState::Code => "code",
            GrantState::Active => "active",
        }
    }

    /// Returns whether it has neither ended nor expired.
    pub fn is_live(&self, now: SystemTime) -> bool {
        !matches!(self.state, GrantState::Ended(_)) && !self.has_expired(now)
    }
}
