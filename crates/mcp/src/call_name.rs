//! What a message calls: its method, and the tool, prompt or resource that it names. It is read from
//! the beginning of a body, to show a call to people and for nothing else.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// What a message calls. The texts are the caller's own, of any content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallName {
    /// The method; `None` for a response, or if it does not stand in the part that was read.
    pub method: Option<String>,
    /// The name of a tool or prompt, or the URI of a resource.
    pub name: Option<String>,
}

impl CallName {
    /// Reads the beginning of a message, or of the first one of a batch. A body that goes on is no
    /// error: what stands before its cut counts.
    pub fn in_prefix(bytes: &[u8]) -> Self {
        let mut found = Self::default();
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        // The error of a cut, or of what is no message, means that there is nothing else.
        let _ = MessageSeed(&mut found).deserialize(&mut reader);
        found
    }
}

/// Reads the members of a message.
struct MessageSeed<'a>(&'a mut CallName);
/// Reads the parameters of a message.
struct ParamsSeed<'a>(&'a mut CallName);
/// Reads a text; anything else is none.
struct TextSeed<'a>(&'a mut Option<String>);

impl<'de> DeserializeSeed<'de> for MessageSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for MessageSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut batch: A) -> Result<(), A::Error> {
        batch.next_element_seed(MessageSeed(self.0))?;
        while batch.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(key) = members.next_key::<String>()? {
            match key.as_str() {
                "method" => members.next_value_seed(TextSeed(&mut self.0.method))?,
                "params" => members.next_value_seed(ParamsSeed(self.0))?,
                _ => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for ParamsSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ParamsSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("parameters")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(key) = members.next_key::<String>()? {
            match key.as_str() {
                "name" | "uri" => members.next_value_seed(TextSeed(&mut self.0.name))?,
                _ => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for TextSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for TextSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        *self.0 = Some(text.to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> (Option<String>, Option<String>) {
        let CallName { method, name } = CallName::in_prefix(text.as_bytes());
        (method, name)
    }

    fn some(method: &str, name: &str) -> (Option<String>, Option<String>) {
        (Some(method.to_owned()), Some(name.to_owned()))
    }

    #[test]
    fn a_call_has_its_method_and_its_tool() {
        let call =
            r#"{"id":1,"method":"tools/call","params":{"arguments":{"a":[1]},"name":"time/now"}}"#;
        assert_eq!(name(call), some("tools/call", "time/now"));
        assert_eq!(
            name(&format!("[{call},{call}]")),
            some("tools/call", "time/now")
        );

        let read = r#"{"params":{"uri":"file:///a"},"method":"resources/read"}"#;
        assert_eq!(name(read), some("resources/read", "file:///a"));
    }

    #[test]
    fn what_stands_before_the_cut_is_known() {
        let call = r#"{"method":"tools/call","params":{"name":"write","arguments":{"text":"aaaa"#;
        assert_eq!(name(call), some("tools/call", "write"));
        assert_eq!(
            name(r#"{"method":"tools/call","params":{"na"#).0.as_deref(),
            Some("tools/call")
        );
    }

    #[test]
    fn anything_else_has_no_name() {
        for odd in [
            "",
            "7",
            "{}",
            "[]",
            "nonsense",
            r#"{"result":{}}"#,
            r#"{"method":7}"#,
        ] {
            assert_eq!(name(odd), (None, None), "{odd}");
        }
    }
}
