//! Values of headers that have parameters: `Content-Type`, and `Content-Disposition` in forms
//! (RFC 9110, 5.6.6; RFC 7578, 4.2).

/// A value with its parameters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ContentType<'a> {
    essence: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    is_broken: bool,
}

impl<'a> ContentType<'a> {
    /// Parses a value. Never fails: what cannot be read makes it [broken](Self::is_broken).
    pub(crate) fn parse(text: &'a str) -> Self {
        let (essence, mut rest) = text.split_once(';').unwrap_or((text, ""));
        let mut value = Self {
            essence: essence.trim(),
            ..Self::default()
        };
        while !rest.trim().is_empty() {
            let Some((parameter, behind)) = parameter(rest) else {
                value.is_broken = true;
                break;
            };
            value.parameters.push(parameter);
            rest = behind;
        }
        value
    }

    /// Returns whether the value is `essence`, without regard to case and parameters.
    pub(crate) fn is(&self, essence: &str) -> bool {
        self.essence.eq_ignore_ascii_case(essence)
    }

    /// Returns the value of a parameter, without its quotes and with escapes in it as they stand.
    /// `None` if it is not there once, so that no two readers find different ones.
    pub(crate) fn parameter(&self, name: &str) -> Option<&'a str> {
        let mut found = self
            .parameters
            .iter()
            .filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let (_, value) = found.next()?;
        found.next().is_none().then_some(value)
    }

    /// Returns whether there is a parameter of this name.
    pub(crate) fn has_parameter(&self, name: &str) -> bool {
        self.parameters
            .iter()
            .any(|(known, _)| known.eq_ignore_ascii_case(name))
    }

    /// Returns whether something in it is no parameter.
    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Returns the value for a message.
    pub(crate) fn described(&self) -> String {
        match self.essence {
            "" => "of no type".to_owned(),
            essence => crate::request::shown(essence),
        }
    }
}

/// Returns the parameter that a text begins with, and what follows behind its semicolon.
fn parameter(text: &str) -> Option<((&str, &str), &str)> {
    let (name, rest) = text.split_once('=')?;
    let rest = rest.trim_start();
    let (value, behind) = match rest.strip_prefix('"') {
        Some(quoted) => {
            let end = quote_end(quoted)?;
            (&quoted[..end], &quoted[end + 1..])
        }
        None => {
            let end = rest.find(';').unwrap_or(rest.len());
            (rest[..end].trim_end(), &rest[end..])
        }
    };

    let behind = behind.trim_start();
    let behind = behind
        .strip_prefix(';')
        .or(behind.is_empty().then_some(""))?;
    let name = name.trim();
    let is_token = |text: &str| !text.is_empty() && !text.contains([';', '"', ' ', '\t']);
    let is_value = rest.starts_with('"') || is_token(value);
    (is_token(name) && is_value).then_some(((name, value), behind))
}

/// Returns the place of the quote that ends a quoted string.
fn quote_end(quoted: &str) -> Option<usize> {
    let mut is_escaped = false;
    quoted.bytes().position(|byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_parameters_in_either_form() {
        let text = r#"Multipart/Form-Data ; charset="a;\"b" ;Boundary = x-1"#;
        let parsed = ContentType::parse(text);

        assert!(parsed.is("multipart/form-data") && !parsed.is_broken());
        assert_eq!(parsed.parameter("charset"), Some(r#"a;\"b"#));
        assert_eq!(parsed.parameter("boundary"), Some("x-1"));
        assert_eq!(parsed.parameter("other"), None);
    }

    #[test]
    fn a_parameter_that_is_there_twice_has_no_value() {
        let parsed = ContentType::parse("a/b; x=1; X=2");

        assert_eq!(parsed.parameter("x"), None);
        assert!(parsed.has_parameter("x"));
    }

    #[test]
    fn what_is_no_parameter_is_noticed() {
        for text in [
            "a; b",
            "a; =1",
            "a; x=",
            r#"a; x="1"#,
            r#"a; x="1"2"#,
            "a; x y=1",
        ] {
            assert!(ContentType::parse(text).is_broken(), "{text}");
        }
        assert!(!ContentType::parse("a; x=1;").is_broken());
    }
}
