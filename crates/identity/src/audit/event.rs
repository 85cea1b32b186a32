//! An event: what happened, to what, by whom.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::EventKind;

/// The longest text of a member, in characters; longer ones are cut.
const MAX_TEXT_CHARS: usize = 200;
/// The most entries of a list or of an object inside the detail.
const MAX_ENTRIES: usize = 50;
/// The deepest lists and objects inside the detail.
const MAX_DEPTH: usize = 5;

/// How the address of a caller is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AddressForm {
    /// Whole.
    Full,
    /// As its network: /24 of IPv4, /48 of IPv6.
    #[default]
    Cut,
    /// Not at all.
    None,
}

/// What happened. Its texts are cut when they are set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditEvent {
    /// What happened.
    #[serde(rename = "event")]
    pub kind: EventKind,
    /// Who did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) actor: Option<String>,
    /// The key that it happened to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<String>,
    /// The OAuth client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) client: Option<String>,
    /// The grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) grant: Option<String>,
    /// The id, or the pattern of ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    /// Where it came from. It is written as the settings say.
    #[serde(skip)]
    pub(super) address: Option<IpAddr>,
    /// The id of the request in all logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) req_id: Option<String>,
    /// What came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) outcome: Option<String>,
    /// What else is to be known.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub(super) detail: Map<String, Value>,
    /// The number of the change of the store that it is of.
    #[serde(skip)]
    pub(super) change: Option<i64>,
}

impl AddressForm {
    /// All forms.
    pub const ALL: [Self; 3] = [Self::Full, Self::Cut, Self::None];

    /// Returns the word for it in settings.
    pub fn word(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Cut => "cut",
            Self::None => "none",
        }
    }

    /// Returns an address as it is written.
    pub fn text(self, address: IpAddr) -> Option<String> {
        let address = address.to_canonical();
        let bits = match address {
            IpAddr::V4(_) => 24,
            IpAddr::V6(_) => 48,
        };
        match self {
            Self::Full => Some(address.to_string()),
            Self::Cut => {
                let network = IpNet::new(address, bits).ok()?;
                Some(network.trunc().to_string())
            }
            Self::None => None,
        }
    }
}

impl AuditEvent {
    /// Returns an event of which nothing but its kind is known.
    pub fn new(kind: EventKind) -> Self {
        Self {
            kind,
            actor: None,
            key: None,
            client: None,
            grant: None,
            id: None,
            address: None,
            req_id: None,
            outcome: None,
            detail: Map::new(),
            change: None,
        }
    }

    /// Sets who did it, such as `key:7k3x`.
    #[must_use]
    pub fn actor(mut self, actor: impl ToString) -> Self {
        self.actor = Some(cut(&actor.to_string()));
        self
    }

    /// Sets who did it, unless that is known.
    #[must_use]
    pub fn or_actor(self, actor: &str) -> Self {
        if self.actor.is_some() {
            return self;
        }
        self.actor(actor)
    }

    /// Sets the key that it happened to.
    #[must_use]
    pub fn key(mut self, key: impl ToString) -> Self {
        self.key = Some(cut(&key.to_string()));
        self
    }

    /// Sets the OAuth client.
    #[must_use]
    pub fn client(mut self, client: impl ToString) -> Self {
        self.client = Some(cut(&client.to_string()));
        self
    }

    /// Sets the grant.
    #[must_use]
    pub fn grant(mut self, grant: impl ToString) -> Self {
        self.grant = Some(cut(&grant.to_string()));
        self
    }

    /// Sets the id, or the pattern of ids.
    #[must_use]
    pub fn id(mut self, id: impl ToString) -> Self {
        self.id = Some(cut(&id.to_string()));
        self
    }

    /// Sets where it came from, if that is known.
    #[must_use]
    pub fn address(mut self, address: Option<IpAddr>) -> Self {
        self.address = address;
        self
    }

    /// Sets the id of the request.
    #[must_use]
    pub fn req_id(mut self, req_id: &str) -> Self {
        self.req_id = Some(cut(req_id));
        self
    }

    /// Sets what came of it.
    #[must_use]
    pub fn outcome(mut self, outcome: impl ToString) -> Self {
        self.outcome = Some(cut(&outcome.to_string()));
        self
    }

    /// Adds a member to the detail. Long texts, lists and objects are cut.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.detail
            .insert(name.to_owned(), bounded(value.into(), MAX_DEPTH));
        self
    }

    /// Sets the number of the change of the store.
    #[must_use]
    pub fn of_change(mut self, change: i64) -> Self {
        self.change = Some(change);
        self
    }

    /// Returns the number of the change of the store.
    pub fn change(&self) -> Option<i64> {
        self.change
    }
}

/// Returns a text of others, cut.
fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT_CHARS) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// Returns a value without what is too long or too deep.
fn bounded(value: Value, depth: usize) -> Value {
    match value {
        Value::String(text) => Value::String(cut(&text)),
        Value::Array(_) | Value::Object(_) if depth == 0 => Value::String("…".to_owned()),
        Value::Array(values) => {
            let more = values.len().saturating_sub(MAX_ENTRIES);
            let values = values.into_iter().take(MAX_ENTRIES);
            let mut values: Vec<_> = values.map(|value| bounded(value, depth - 1)).collect();
            if more > 0 {
                values.push(Value::String(format!("… and {more} more")));
            }
            Value::Array(values)
        }
        Value::Object(members) => {
            let members = members.into_iter().take(MAX_ENTRIES);
            let members = members.map(|(name, value)| (cut(&name), bounded(value, depth - 1)));
            Value::Object(members.collect())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_address_is_written_as_the_settings_say() {
        let text = |form: AddressForm, address: &str| form.text(address.parse().unwrap());

        for (address, cut) in [
            ("203.0.113.77", "203.0.113.0/24"),
            ("::ffff:203.0.113.77", "203.0.113.0/24"),
            ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ] {
            assert_eq!(text(AddressForm::Cut, address).unwrap(), cut);
            assert_eq!(text(AddressForm::None, address), None);
        }
        assert_eq!(
            text(AddressForm::Full, "203.0.113.77").unwrap(),
            "203.0.113.77"
        );
    }

    #[test]
    fn long_texts_lists_and_depths_are_cut() {
        let long = "é".repeat(1000);
        let many: Vec<_> = (0..100).collect();
        let deep = json!([[[[[[[["deep"]]]]]]]]);

        let event = AuditEvent::new(EventKind::ClientAdded)
            .client(&long)
            .with("name", long.as_str())
            .with("many", many)
            .with("deep", deep);

        assert_eq!(event.client.unwrap().chars().count(), MAX_TEXT_CHARS + 1);
        let name = event.detail["name"].as_str().unwrap();
        assert!(name.ends_with('…') && name.len() < 500);
        assert_eq!(event.detail["many"].as_array().unwrap().len(), 51);
        assert!(!event.detail["deep"].to_string().contains("deep"));
    }

    #[test]
    fn an_event_survives_its_record() {
        let event = AuditEvent::new(EventKind::AccessChanged)
            .actor("command_line")
            .id("notes-*")
            .with("mode", "keys");

        let record = serde_json::to_string(&event).unwrap();

        assert_eq!(serde_json::from_str::<AuditEvent>(&record).unwrap(), event);
        assert!(serde_json::from_str::<AuditEvent>(r#"{"event":"x"}"#).is_err());
    }
}
