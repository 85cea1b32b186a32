//! The ids of one relay as headers: on the upgrade those that it wants, on the 101 those that it got.
//!
//! There is one `Llamapool-Id` line for each provider, in the relay's order. An empty line leaves the
//! id to the server, and so does no line at all, for a single provider. Middleboxes may join such
//! lines with commas (RFC 9110, 5.3), which no id contains.

use http::{HeaderMap, HeaderValue};

use crate::header::ID;
use crate::{IdError, RelayId};

/// The most providers of one relay. Each is a header of the upgrade, and common HTTP implementations
/// take a hundred headers in one request, including those of the proxies on the way.
pub const MAX_PROVIDERS: usize = 64;

/// Headers are not the ids of a relay.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdsError {
    /// A header is not text.
    #[error("the {ID} header is not ASCII text")]
    NotText,
    /// A text is not an id.
    #[error(transparent)]
    Id(#[from] IdError),
    /// There are more than [`MAX_PROVIDERS`].
    #[error("the relay has {0} providers, expected at most {MAX_PROVIDERS} on one tunnel")]
    TooMany(usize),
    /// Two providers have the same id.
    #[error("the id {0} is there twice, expected another one for each provider")]
    Twice(RelayId),
}

/// Adds the ids as headers.
pub fn write_ids(headers: &mut HeaderMap, ids: &[Option<RelayId>]) {
    if let [None] = ids {
        return;
    }
    for id in ids {
        // An id has no byte that a header value must not have.
        let value = HeaderValue::from_str(id.as_ref().map_or("", RelayId::as_str));
        headers.extend(value.map(|value| (ID, value)));
    }
}

/// Parses the `Llamapool-Id` headers. One entry for each provider, `None` where the server assigns the
/// id; never empty.
pub fn read_ids(headers: &HeaderMap) -> Result<Vec<Option<RelayId>>, IdsError> {
    let lines: Result<Vec<&str>, _> = headers
        .get_all(ID)
        .into_iter()
        .map(HeaderValue::to_str)
        .collect();
    let lines = lines.map_err(|_| IdsError::NotText)?;
    let texts = || lines.iter().flat_map(|line| line.split(',')).map(str::trim);
    if texts().count() > MAX_PROVIDERS {
        return Err(IdsError::TooMany(texts().count()));
    }

    let mut ids: Vec<Option<RelayId>> = Vec::new();
    for text in texts() {
        if text.is_empty() {
            ids.push(None);
            continue;
        }
        let id: RelayId = text.parse()?;
        if ids.iter().flatten().any(|other| *other == id) {
            return Err(IdsError::Twice(id));
        }
        ids.push(Some(id));
    }
    if ids.is_empty() {
        ids.push(None);
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ids(texts: &[&str]) -> Vec<Option<RelayId>> {
        texts
            .iter()
            .map(|text| (!text.is_empty()).then(|| text.parse().unwrap()))
            .collect()
    }

    fn lines(texts: &[&str]) -> HeaderMap {
        texts
            .iter()
            .map(|text| (ID, HeaderValue::from_str(text).unwrap()))
            .collect()
    }

    #[test]
    fn ids_are_exactly_these_headers_in_this_order() {
        let cases: [(&[&str], &[&str]); 4] = [
            (&[""], &[]),
            (&["b"], &["b"]),
            (&["b", "", "a"], &["b", "", "a"]),
            (&["", ""], &["", ""]),
        ];
        for (wanted, expected) in cases {
            let mut headers = HeaderMap::new();
            write_ids(&mut headers, &ids(wanted));
            let written: Vec<_> = headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_bytes()))
                .collect();
            let expected: Vec<_> = expected
                .iter()
                .map(|text| ("llamapool-id", text.as_bytes()))
                .collect();
            assert_eq!(written, expected);
        }
    }

    #[test]
    fn lines_that_a_middlebox_joined_are_read_as_they_were() {
        assert_eq!(read_ids(&lines(&["a, b", "c"])), Ok(ids(&["a", "b", "c"])));
        assert_eq!(read_ids(&lines(&["a,,b,"])), Ok(ids(&["a", "", "b", ""])));
        assert_eq!(read_ids(&lines(&[])), Ok(ids(&[""])));
        assert_eq!(read_ids(&lines(&[""])), Ok(ids(&[""])));
    }

    #[test]
    fn errors_name_the_wrong_id_or_number() {
        let message = |texts: &[&str]| read_ids(&lines(texts)).unwrap_err().to_string();

        assert_eq!(
            message(&["a", "b", "a"]),
            "the id a is there twice, expected another one for each provider"
        );

        let many: Vec<String> = (0..=MAX_PROVIDERS)
            .map(|number| number.to_string())
            .collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();

        assert_eq!(
            message(&many),
            "the relay has 65 providers, expected at most 64 on one tunnel"
        );
        assert_eq!(message(&[&many.join(",")]), message(&many));
        assert_eq!(
            read_ids(&lines(&many[1..])).map(|ids| ids.len()),
            Ok(MAX_PROVIDERS)
        );
        assert_eq!(
            read_ids(&lines(&["a", "b/c"])),
            Err(IdsError::Id(IdError::Character('/')))
        );

        let headers = [(ID, HeaderValue::from_bytes(b"a\xe9").unwrap())]
            .into_iter()
            .collect();

        assert_eq!(read_ids(&headers), Err(IdsError::NotText));
    }

    proptest! {
        #[test]
        fn all_ids_survive_their_headers(texts in prop::collection::hash_set("[a-z0-9~_-]{1,20}", 1..MAX_PROVIDERS), gap: prop::sample::Index) {
            let mut wanted: Vec<_> = texts.iter().map(|text| Some(text.parse().unwrap())).collect();
            let gap = gap.index(wanted.len());
            wanted[gap] = None;
            let mut headers = HeaderMap::new();
            write_ids(&mut headers, &wanted);
            prop_assert_eq!(read_ids(&headers), Ok(wanted));
        }

        #[test]
        fn hostile_headers_never_panic(texts in prop::collection::vec("[ -~]{0,200}", 0..80)) {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let _ = read_ids(&lines(&texts));
        }
    }
}
