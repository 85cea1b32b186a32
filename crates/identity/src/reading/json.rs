//! JSON as every reader reads it: serde_json's strict syntax, and in the objects that decide no name
//! that stands twice or that some reader could take for another one.
//!
//! serde_json refuses what only some readers accept: a byte order mark, text behind the value,
//! comments, `NaN`, control characters in strings, numbers beyond any float. It checks surrogates in
//! strings that it decodes alone, so every string is decoded here, also those that are not kept. It
//! leaves names that stand twice to its visitor, which is this one.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use llamapool_mcp::folded_name;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};
use serde_json::value::RawValue;

/// The deepest nesting of arrays and objects.
const MAX_DEPTH: usize = 64;
/// The most members of an object that decides. MCP's have a dozen.
const MAX_MEMBERS: usize = 128;
/// The most characters of a name that an error quotes.
const QUOTED_CHARS: usize = 64;

/// The part of a value that is kept. The rest is checked and forgotten.
#[derive(Debug, Clone, Copy)]
pub(super) enum Keep {
    /// Nothing.
    Nothing,
    /// A string.
    Text,
    /// The text of the value.
    Raw,
    /// Members of an object, whose names must be unambiguous.
    Members(&'static [Known]),
    /// The same of each element of a list of at most so many, or of a value that is no list.
    OneOrList(&'static Keep, usize),
}

/// A member that is kept.
#[derive(Debug)]
pub(super) struct Known {
    /// Its name.
    pub(super) name: &'static str,
    /// Its name as [`folded_name`] has it.
    pub(super) folded: &'static str,
    /// What is kept of it.
    pub(super) keep: Keep,
}

/// What was kept of a value.
#[derive(Debug)]
pub(super) enum Value<'a> {
    /// Null.
    Null,
    /// A string.
    Text(Cow<'a, str>),
    /// The text of the value.
    Raw(&'a RawValue),
    /// The members of an object.
    Members(Members<'a>),
    /// What was kept of each element.
    List(Vec<Value<'a>>),
    /// Nothing: it was not to be kept, or is of another type.
    Other,
}

/// The members of an object that were kept.
#[derive(Debug, Default)]
pub(super) struct Members<'a>(Vec<(&'static str, Value<'a>)>);

impl<'a> Members<'a> {
    /// Returns a member.
    pub(super) fn get(&self, name: &str) -> Option<&Value<'a>> {
        let mut members = self.0.iter();
        let found = members.find(|(known, _)| *known == name);
        found.map(|(_, value)| value)
    }
}

/// Reads one value that is all there is, and keeps a part of it.
///
/// # Errors
///
/// The first reason for which readers could read it differently.
pub(super) fn read(json: &[u8], keep: Keep) -> Result<Value<'_>, String> {
    // First of all of it: serde_json checks the strings that it decodes, one by one.
    let text = std::str::from_utf8(json).map_err(|error| format!("it is not UTF-8: {error}"))?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let seed = Reader { keep, depth: 0 };

    let value = seed.deserialize(&mut reader);
    let value = value.map_err(|error| error.to_string())?;
    reader.end().map_err(|error| error.to_string())?;
    Ok(value)
}

/// Reads one value.
#[derive(Clone, Copy)]
struct Reader {
    keep: Keep,
    /// The arrays and objects around it.
    depth: usize,
}

impl Reader {
    /// Returns the reader of a value inside.
    fn inside<E: de::Error>(self, keep: Keep) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH {
            let message = format!("it is nested deeper than {MAX_DEPTH} levels");
            return Err(E::custom(message));
        }
        Ok(Self {
            keep,
            depth: self.depth + 1,
        })
    }

    /// Returns what is kept of a value that is no list.
    fn one(self) -> Keep {
        match self.keep {
            Keep::OneOrList(one, _) => *one,
            keep => keep,
        }
    }

    fn text<'de>(self, text: Cow<'de, str>) -> Value<'de> {
        match self.one() {
            Keep::Text => Value::Text(text),
            _ => Value::Other,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Reader {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value<'de>, D::Error> {
        match self.keep {
            Keep::Raw => <&RawValue>::deserialize(deserializer).map(Value::Raw),
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Reader {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value<'de>, E> {
        Ok(Value::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value<'de>, E> {
        Ok(Value::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Value<'de>, E> {
        Ok(Value::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value<'de>, E> {
        Ok(Value::Other)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Value<'de>, E> {
        Ok(self.text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value<'de>, E> {
        Ok(self.text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value<'de>, A::Error> {
        let Keep::OneOrList(keep, most) = self.keep else {
            let inside = self.inside(Keep::Nothing)?;
            while list.next_element_seed(inside)?.is_some() {}
            return Ok(Value::Other);
        };

        let inside = self.inside(*keep)?;
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(inside)? {
            if values.len() >= most {
                let message = format!("a list has more than {most} elements");
                return Err(A::Error::custom(message));
            }
            values.push(value);
        }
        Ok(Value::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
        let Keep::Members(known) = self.one() else {
            let inside = self.inside(Keep::Nothing)?;
            while map.next_key_seed(inside)?.is_some() {
                map.next_value_seed(inside)?;
            }
            return Ok(Value::Other);
        };

        let mut names = HashSet::new();
        let mut members = Members::default();
        while let Some(Name(name)) = map.next_key()? {
            let member = find(known, &name).map_err(A::Error::custom)?;
            let keep = member.map_or(Keep::Nothing, |member| member.keep);
            let value = map.next_value_seed(self.inside(keep)?)?;
            members.0.extend(member.map(|member| (member.name, value)));

            if names.contains(&name) {
                let message = format!("the key {:?} stands twice", quoted(&name));
                return Err(A::Error::custom(message));
            }
            if names.len() >= MAX_MEMBERS {
                let message = format!("an object has more than {MAX_MEMBERS} members");
                return Err(A::Error::custom(message));
            }
            names.insert(name);
        }
        Ok(Value::Members(members))
    }
}

/// The name of a member, decoded.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// Returns the member of a name that is kept, `None` for another one.
fn find(known: &'static [Known], name: &str) -> Result<Option<&'static Known>, String> {
    // A copy with `Object.assign` makes of it what the object inherits.
    if name == "__proto__" {
        return Err("it has the key \"__proto__\"".to_owned());
    }
    let exact = known.iter().find(|member| member.name == name);
    if exact.is_some() {
        return Ok(exact);
    }

    let folded = folded_name(name);
    match known.iter().find(|member| member.folded == folded) {
        None => Ok(None),
        Some(member) => Err(format!(
            "the key {:?} could be read as {:?}",
            quoted(name),
            member.name
        )),
    }
}

fn quoted(name: &str) -> String {
    name.chars().take(QUOTED_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Known] = &[
        Known {
            name: "uri",
            folded: "uri",
            keep: Keep::Text,
        },
        Known {
            name: "taskId",
            folded: "taskid",
            keep: Keep::Raw,
        },
        Known {
            name: "list",
            folded: "list",
            keep: Keep::OneOrList(&Keep::Text, 2),
        },
    ];

    fn check(json: &str) -> Result<(), String> {
        read(json.as_bytes(), Keep::Members(KNOWN)).map(drop)
    }

    #[test]
    fn members_are_kept_as_they_are_meant() {
        let json = r#" {"\u0075ri" : "\ud83d\ude00a", "taskId":1e2, "list":["a","b"], "x":[{}]} "#;
        let Value::Members(members) = read(json.as_bytes(), Keep::Members(KNOWN)).unwrap() else {
            panic!("an object");
        };

        assert!(matches!(members.get("uri"), Some(Value::Text(uri)) if uri == "😀a"));
        assert!(matches!(members.get("taskId"), Some(Value::Raw(id)) if id.get() == "1e2"));
        assert!(matches!(members.get("list"), Some(Value::List(list)) if list.len() == 2));
        assert!(members.get("x").is_none());
    }

    #[test]
    fn what_some_readers_read_otherwise_is_refused() {
        for (json, why) in [
            (r#"{"uri":"a","uri":"b"}"#, "twice"),
            (r#"{"uri":"a","\u0075ri":"b"}"#, "twice"),
            (r#"{"x":1,"x":2}"#, "twice"),
            (r#"{"__proto__":{"uri":"a"}}"#, "__proto__"),
            (r#"{"URI":"a"}"#, "could be read as \\\"uri\\\""),
            (r#"{"Uri":"a"}"#, "could be read"),
            (r#"{"\u0131":1,"ur\u0131":1}"#, "could be read"),
            (r#"{"tas\u212aId":1}"#, "could be read"),
            (r#"{"ta\u017fk_id":1}"#, "could be read"),
            (r#"{"li\u017ft":1}"#, "could be read"),
            (r#"{"list":["a","b","c"]}"#, "more than 2"),
            (r#"{"uri":"a"} {}"#, "trailing"),
            (r#"{"uri":"a"}x"#, "trailing"),
            ("\u{feff}{}", "expected value"),
            (r#"{"x":"\ud800"}"#, "hex escape"),
            (r#"{"x":{"y":["\udc00\ud800"]}}"#, "surrogate"),
            (r#"{"x":{"\ud800":1}}"#, "hex escape"),
            ("{\"x\":\"a\u{1}\"}", "control"),
            (r#"{"x":NaN}"#, "expected"),
            (r#"{"x":1e400}"#, "range"),
            (r#"{"x":01}"#, "invalid number"),
            (r#"{"x":1,}"#, "trailing comma"),
            (r#"{"x":1/**/}"#, "expected"),
            (r#"{x:1}"#, "key"),
            ("", "EOF"),
        ] {
            let error = check(json).unwrap_err();
            let why = why.replace("\\\"", "\"");
            assert!(error.contains(&why), "{json}: {error}");
        }
        assert!(check(r#"{"x":{"y":1,"y":2,"Uri":3}}"#).is_ok());
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_refused() {
        for json in [
            &b"{\"x\":\"\xff\"}"[..],
            b"{\0\"\0x\0\"\0:\0\x31\0}\0",
            b"\xff\xfe{\0}\0",
            b"{\"x\":\"\xed\xa0\x80\"}",
        ] {
            assert!(read(json, Keep::Nothing).is_err(), "{json:?}");
        }
    }

    #[test]
    fn nesting_has_a_bound_in_every_place() {
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));

        assert!(read(nested(64).as_bytes(), Keep::Nothing).is_ok());
        assert!(read(nested(65).as_bytes(), Keep::Nothing).is_err());
        assert!(check(&format!(r#"{{"x":{}}}"#, nested(63))).is_ok());
        assert!(check(&format!(r#"{{"x":{}}}"#, nested(64))).is_err());
        assert!(check(&format!(r#"{{"list":{}}}"#, nested(64))).is_err());
    }

    #[test]
    fn members_of_an_object_that_decides_have_a_bound() {
        let object = |count| {
            let members: Vec<_> = (0..count).map(|n| format!(r#""k{n}":1"#)).collect();
            format!("{{{}}}", members.join(","))
        };

        assert!(check(&object(128)).is_ok());
        assert!(check(&object(129)).unwrap_err().contains("128 members"));
    }
}
