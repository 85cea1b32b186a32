//! Fields are found, changed and kept in their order, and are those of a map.

use http::header;
use proptest::prelude::*;

use super::*;
use crate::lookup::FieldLookup;

/// Fields as received: each name and value is a range of one text.
fn received(pairs: &[(&str, &str)]) -> Fields {
    let text: String = pairs
        .iter()
        .flat_map(|(name, value)| [*name, *value])
        .collect();
    let mut fields = Fields::of_received(Bytes::from(text));
    let mut at = 0;
    for (name, value) in pairs {
        let name = at..at + name.len();
        let value = name.end..name.end + value.len();
        at = value.end;
        assert!(fields.push_received(FieldSpan { name, value }));
    }
    fields
}

fn pairs(fields: &Fields) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let pairs = fields.iter();
    pairs
        .map(|(name, value)| (name.to_owned(), text(value.as_bytes())))
        .collect()
}

#[test]
fn fields_are_found_changed_and_keep_their_order() {
    let mut fields = received(&[
        ("accept", "a"),
        ("x-one", "1"),
        ("accept", "b"),
        ("host", "h"),
    ]);

    assert_eq!(fields.get(&header::ACCEPT).unwrap().as_bytes(), b"a");
    let accepted: Vec<_> = fields
        .all_values(&header::ACCEPT)
        .map(FieldValue::as_bytes)
        .collect();
    assert_eq!(accepted, [b"a", b"b"]);
    let last = fields.all_values(&header::ACCEPT).next_back();
    assert_eq!(last.unwrap().as_bytes(), b"b");
    assert!(!fields.contains_key(&header::ORIGIN));

    assert!(fields.remove(&header::HOST) && !fields.remove(&header::HOST));
    fields.insert(&header::ACCEPT, &HeaderValue::from_static("c"));
    assert!(fields.append_bytes(&header::COOKIE, b"k"));
    assert!(!fields.append_bytes(&header::COOKIE, b"k\nv"));

    let expected = [("x-one", "1"), ("accept", "c"), ("cookie", "k")];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(pairs(&fields), expected);
}

#[test]
fn what_is_no_field_is_refused() {
    let mut fields = Fields::of_received(Bytes::from_static(b"Xa b\x01ok\x7fv\xff\t"));

    for (name, value) in [
        (0..1, 1..2),
        (0..0, 1..2),
        (1..3, 5..6),
        (1..2, 4..5),
        (1..2, 7..8),
        (5..6, 20..21),
        (20..21, 5..6),
    ] {
        assert!(!fields.push_received(FieldSpan { name, value }));
    }
    assert!(fields.is_empty());

    assert!(fields.push_received(FieldSpan {
        name: 5..7,
        value: 8..11
    }));
    assert_eq!(fields.iter().next().unwrap().1.as_bytes(), b"v\xff\t");
    assert!(fields.text_of(&HeaderName::from_static("ok")).is_none());
}

proptest! {
    /// Whatever is done to them, fields are those of the map of the crate `http`, up to their order.
    #[test]
    fn fields_are_those_of_a_map(
        given in proptest::collection::vec(("[a-d]{1,2}", "[ -~]{0,8}"), 0..20),
        removed in "[a-d]{1,2}",
        inserted in ("[a-d]{1,2}", "[ -~]{0,8}"),
    ) {
        let given: Vec<_> = given.iter().map(|(name, value)| (&**name, &**value)).collect();
        let mut fields = received(&given);
        let mut map = fields.to_http().unwrap();
        prop_assert_eq!(pairs(&Fields::from(&map)).len(), given.len());

        let removed = HeaderName::try_from(removed).unwrap();
        prop_assert_eq!(fields.remove(&removed), map.remove(&removed).is_some());
        let name = HeaderName::try_from(inserted.0).unwrap();
        let value = HeaderValue::try_from(inserted.1).unwrap();
        fields.insert(&name, &value);
        map.insert(name, value);

        prop_assert_eq!(fields.len(), map.len());
        for name in map.keys() {
            let values: Vec<_> = fields.all_values(name).map(FieldValue::as_bytes).collect();
            let expected: Vec<_> = map.all_values(name).map(FieldValue::as_bytes).collect();
            prop_assert_eq!(values, expected);
        }
        prop_assert_eq!(fields.to_http().unwrap(), map);
    }
}

#[test]
fn a_field_whose_value_follows_its_name_is_added() {
    let mut fields = Fields::of_received(Bytes::from_static(b"  x-one1\n"));

    for (start, name_length, value_length) in [
        (2, 0, 1),
        (1, 6, 1),
        (2, 5, 2),
        (2, 5, 3),
        (2, 8, 0),
        (9, 1, 0),
        (20, 1, 1),
        (2, usize::MAX, 1),
        (2, 5, usize::MAX),
    ] {
        assert!(!fields.push_adjacent(start, name_length, value_length));
    }
    assert!(fields.is_empty());

    assert!(fields.push_adjacent(2, 5, 1) && fields.push_adjacent(2, 5, 0));
    let expected = [("x-one", "1"), ("x-one", "")];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(pairs(&fields), expected);
    assert_eq!(fields.content_bytes(), 11);
}

#[test]
fn any_name_of_a_set_is_found() {
    const SET: NameSet = NameSet::new(&["te", "upgrade"]);
    let mut fields = received(&[("accept", "a"), ("te", "t")]);

    assert!(fields.contains_any(&SET));
    assert!(fields.remove(&header::TE));
    assert!(!fields.contains_any(&SET));
    assert!(!received(&[("accept", "a")]).contains_any(&SET));
}
