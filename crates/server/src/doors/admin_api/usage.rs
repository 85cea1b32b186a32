//! `/api/admin/usage`: what keys have used today and in this month.

use std::sync::Arc;

use llamapool_identity::{Key, Usage, shown_time};
use serde_json::{Value, json};

use super::error::AdminError;
use super::intake::{AdminRequest, Page};
use super::{AdminDoor, Answer};

impl AdminDoor {
    /// Lists the keys that have used something in this month, in UTC.
    pub(super) fn list_usage(&self, request: &AdminRequest<'_>) -> Result<Answer, AdminError> {
        let page: Page = request.query()?;
        let now = self.identity.now();
        let published = self.identity.published();
        let meters = self.identity.meters();
        let used = published.snapshot.keys().filter_map(|key| {
            let [today, month] = meters.used(&key.id, now);
            (month != Usage::default()).then_some((key, today, month))
        });
        let used: Vec<(&Arc<Key>, Usage, Usage)> = used.collect();

        let (used, next) = page.of(used, |(key, ..)| key.id.to_string())?;
        let used = used.into_iter().map(|(key, today, month)| {
            json!({
                "key": key.id.as_str(),
                "kind": key.kind().word(),
                "name": key.name,
                "used_today": today,
                "used_this_month": month,
            })
        });
        let used: Vec<Value> = used.collect();
        Ok(Answer::ok(
            json!({"at": shown_time(now), "usage": used, "next": next}),
        ))
    }
}
