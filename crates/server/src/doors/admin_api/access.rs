//! `/api/admin/access`: the rules of access. A rule is replaced as a whole, so that its new text is all
//! that holds.

use llamapool_identity::{
    AccessLimits, AccessMode, AccessRule, AdminRight, MessagePolicy, Pattern, RuleCondition,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::AdminError;
use super::intake::{AdminRequest, NoQuery, Page};
use super::{AdminDoor, Answer, Deed, with_ended};

/// A rule, without its pattern, which is in the path.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleBody {
    /// What the ids ask of their callers.
    access: String,
    #[serde(default)]
    limits: AccessLimits,
    #[serde(default)]
    messages: MessagePolicy,
}

impl AdminDoor {
    pub(super) fn list_rules(&self, request: &AdminRequest<'_>) -> Result<Answer, AdminError> {
        let page: Page = request.query()?;
        let published = self.identity.published();
        let snapshot = &published.snapshot;
        let settings = self.identity.declared();
        let declared = &settings.declared.access;
        let is_declared = |pattern: &Pattern| declared.iter().any(|rule| rule.pattern == *pattern);
        let declared = declared.iter().map(|rule| (rule, "declared"));
        let stored = snapshot.stored_rules().iter();
        let stored = stored.filter(|rule| !is_declared(&rule.pattern));
        let rules: Vec<_> = stored
            .map(|rule| (rule, "stored"))
            .chain(declared)
            .collect();

        let (rules, next) = page.of(rules, |(rule, _)| rule.pattern.to_string())?;
        let rules = rules.into_iter().map(|(rule, origin)| shown(rule, origin));
        let rules: Vec<Value> = rules.collect();
        let default = snapshot.access().default_mode().word();
        Ok(Answer::ok(
            json!({"default": default, "rules": rules, "next": next}),
        ))
    }

    pub(super) fn show_rule(
        &self,
        pattern: &Pattern,
        request: &AdminRequest<'_>,
    ) -> Result<Answer, AdminError> {
        let NoQuery {} = request.query()?;
        if let Some(rule) = self.declared_rule(pattern) {
            return Ok(Answer::ok(shown(&rule, "declared")).with_tag(rule.tag()));
        }
        self.rule_answer(pattern)
    }

    /// Returns under what a rule is to be changed, if it can be changed here.
    fn condition_of_change(
        &self,
        pattern: &Pattern,
        request: &AdminRequest<'_>,
    ) -> Result<RuleCondition, AdminError> {
        let NoQuery {} = request.query()?;
        self.check_not_declared(pattern)?;
        request.rule_condition()
    }

    pub(super) async fn set_rule(
        &self,
        pattern: Pattern,
        request: &AdminRequest<'_>,
    ) -> Result<Answer, AdminError> {
        let condition = self.condition_of_change(&pattern, request)?;
        let RuleBody {
            access,
            limits,
            messages,
        } = request.json()?;
        let mode: AccessMode = access.parse().map_err(|error| invalid(&error))?;
        let rule = AccessRule {
            pattern: pattern.clone(),
            mode,
            limits,
            messages,
        };
        rule.check().map_err(|error| invalid(&error))?;

        let set = self.change(
            request,
            AdminRight::Policy,
            deed("access.changed", &pattern),
            move |store, _, now| store.set_rule_if(&rule, condition, now),
        );
        let ended = set.await?.ended;
        let answer = self.rule_answer(&pattern)?;
        Ok(Answer {
            body: with_ended(answer.body, ended),
            ..answer
        })
    }

    pub(super) async fn remove_rule(
        &self,
        pattern: Pattern,
        request: &AdminRequest<'_>,
    ) -> Result<Answer, AdminError> {
        let condition = self.condition_of_change(&pattern, request)?;
        let deed = deed("access.removed", &pattern);
        let rule = pattern.clone();
        let removed = self.change(request, AdminRight::Policy, deed, move |store, _, now| {
            store.remove_rule_if(&rule, condition, now)
        });
        let ended = removed.await?.ended;
        Ok(Answer::ok(json!({"pattern": pattern, "ended": ended})))
    }

    fn rule_answer(&self, pattern: &Pattern) -> Result<Answer, AdminError> {
        let published = self.identity.published();
        let mut rules = published.snapshot.stored_rules().iter();
        let rule = rules.find(|rule| rule.pattern == *pattern);
        let rule = rule.ok_or_else(|| AdminError::Missing(format!("rule for {pattern}")))?;
        Ok(Answer::ok(shown(rule, "stored")).with_tag(rule.tag()))
    }

    fn declared_rule(&self, pattern: &Pattern) -> Option<AccessRule> {
        let settings = self.identity.declared();
        let mut declared = settings.declared.access.iter();
        declared.find(|rule| rule.pattern == *pattern).cloned()
    }

    /// Refuses what would have no effect: a declared rule goes before a stored one.
    fn check_not_declared(&self, pattern: &Pattern) -> Result<(), AdminError> {
        match self.declared_rule(pattern) {
            Some(_) => Err(AdminError::Declared(format!("the rule for {pattern}"))),
            None => Ok(()),
        }
    }
}

fn shown(rule: &AccessRule, origin: &str) -> Value {
    let mut shown = rule.shown();
    if let Some(members) = shown.as_object_mut() {
        members.insert("origin".to_owned(), origin.into());
    }
    shown
}

fn deed(what: &'static str, pattern: &Pattern) -> Deed {
    Deed {
        what,
        subject: pattern.to_string(),
    }
}

fn invalid(error: &dyn std::fmt::Display) -> AdminError {
    AdminError::Invalid(error.to_string())
}
