//! The length that a message declares (RFC 9110, section 8.6).

use http::header::CONTENT_LENGTH;
use llamapool_head::{FieldLookup, FieldValue, Fields};

/// A message declares a length that is no number, or several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the declared length is not one number")]
pub struct ContentLengthError;

/// Checks the declared length of a message, and makes one header of a length that stands there
/// several times, also in one value (RFC 9110, section 8.6). A server that would send on what is no
/// length breaks its connection off instead. Returns the length, `None` if there is none.
///
/// # Errors
///
/// There are several lengths, or one is not a decimal number.
pub fn normalize_length_of(fields: &mut Fields) -> Result<Option<u64>, ContentLengthError> {
    let mut values = fields.all_values(&CONTENT_LENGTH);
    let Some(first) = values.next() else {
        return Ok(None);
    };
    let is_single = values.next().is_none();
    if is_single && let Ok(length) = parse(first.as_bytes()) {
        return Ok(Some(length));
    }

    let length = common_length(fields.all_values(&CONTENT_LENGTH))?;
    fields.insert(&CONTENT_LENGTH, &length.into());
    Ok(Some(length))
}

/// Returns the one length that all of at least one value have.
pub(crate) fn common_length<'a>(
    values: impl Iterator<Item = FieldValue<'a>>,
) -> Result<u64, ContentLengthError> {
    let mut length = None;
    for value in values {
        for part in value.as_bytes().split(|&byte| byte == b',') {
            let parsed = parse(part.trim_ascii())?;
            if *length.get_or_insert(parsed) != parsed {
                return Err(ContentLengthError);
            }
        }
    }
    length.ok_or(ContentLengthError)
}

/// Parses digits alone: `u64::from_str` also takes a sign.
pub(crate) fn parse(value: &[u8]) -> Result<u64, ContentLengthError> {
    if !value.iter().all(u8::is_ascii_digit) {
        return Err(ContentLengthError);
    }
    let text = std::str::from_utf8(value).map_err(|_| ContentLengthError)?;
    text.parse().map_err(|_| ContentLengthError)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;

    fn normalized(values: &[&'static str]) -> Result<Vec<HeaderValue>, ContentLengthError> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CONTENT_LENGTH, HeaderValue::from_static(value));
        }
        let mut fields = Fields::from(&headers);
        normalize_length_of(&mut fields)?;
        let headers = fields.to_http().unwrap();
        Ok(headers.get_all(CONTENT_LENGTH).iter().cloned().collect())
    }

    #[test]
    fn one_length_is_left_of_several_equal_ones() {
        assert_eq!(normalized(&[]).unwrap(), [""; 0]);
        for equal in [&["17"][..], &["17", "17"], &["17, 17"], &["17,17", "17"]] {
            assert_eq!(normalized(equal).unwrap(), ["17"], "{equal:?}");
        }
    }

    #[test]
    fn a_length_that_is_no_number_or_two_is_an_error() {
        for odd in [
            &["1", "2"][..],
            &["1, 2"],
            &[""],
            &["+1"],
            &["-1"],
            &["0x1"],
            &["1.0"],
            &["1 1"],
            &["1,"],
            &["99999999999999999999"],
        ] {
            assert_eq!(normalized(odd), Err(ContentLengthError), "{odd:?}");
        }
    }
}
