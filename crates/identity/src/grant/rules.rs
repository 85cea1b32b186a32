//! When a grant is live, and what a presented code or refresh token must fit. Nothing is written here.

use std::time::SystemTime;

use super::{CodeRedemption, Grant, GrantError, GrantState, Refresh, Turning};
use crate::scope::Scope;

impl Grant {
    /// Returns whether it has tokens, and its time is not over. Its approver, its client and its id are
    /// another question.
    pub fn is_active(&self, now: SystemTime) -> bool {
        self.state == GrantState::Active && !self.has_expired(now)
    }

    /// Returns whether its time is over, though nothing may have written that yet.
    pub fn has_expired(&self, now: SystemTime) -> bool {
        now >= self.end()
    }

    /// Returns when it ends unless it is used before.
    pub fn end(&self) -> SystemTime {
        let life = match self.state {
            GrantState::Code => self.code_until,
            GrantState::Active | GrantState::Ended(_) => self.idle_until,
        };
        self.ends_at.map_or(life, |ends_at| ends_at.min(life))
    }

    /// Checks a code. All that a client may have got wrong by mistake comes before what decides
    /// whether the code is spent.
    ///
    /// # Errors
    ///
    /// If it does not fit this grant, or was redeemed before.
    pub(crate) fn check_code(
        &self,
        presented: &CodeRedemption,
        now: SystemTime,
    ) -> Result<(), GrantError> {
        if presented.code != self.code {
            return Err(GrantError::Unknown);
        }
        if presented.client != self.client {
            return Err(GrantError::OtherClient);
        }
        self.check_resource(presented.resource.as_ref())?;
        let redirect = presented.redirect.as_ref();
        if redirect.is_some_and(|redirect| *redirect != self.redirect) {
            return Err(GrantError::OtherRedirect);
        }
        if !self.challenge.fits(&presented.verifier) {
            return Err(GrantError::Verifier);
        }

        match self.state {
            GrantState::Code if self.has_expired(now) => Err(GrantError::CodeExpired),
            GrantState::Code => Ok(()),
            GrantState::Active => Err(GrantError::CodeReuse),
            GrantState::Ended(_) => Err(GrantError::Ended),
        }
    }

    /// Checks a refresh token. Returns what follows, and how much the access token gives.
    ///
    /// # Errors
    ///
    /// If it does not fit this grant, or the grant has ended.
    pub(crate) fn check_refresh(
        &self,
        presented: &Refresh,
        now: SystemTime,
    ) -> Result<(Turning, Scope), GrantError> {
        if presented.client != self.client {
            return Err(GrantError::OtherClient);
        }
        if !self.is_active(now) {
            return Err(GrantError::Ended);
        }
        self.check_resource(presented.resource.as_ref())?;
        let scope = presented.scope.unwrap_or(self.scope);
        if scope > self.scope {
            return Err(GrantError::WiderScope);
        }
        Ok((self.turns.present(presented.turn, now), scope))
    }

    fn check_resource(&self, asked: Option<&llamapool_wire::RelayId>) -> Result<(), GrantError> {
        if asked.is_some_and(|asked| *asked != self.resource) {
            return Err(GrantError::OtherResource);
        }
        Ok(())
    }
}
