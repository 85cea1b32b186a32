//! The members of an object of a request that are read, as they stand there.

use crate::members::{NotJsonError, each_item, each_member, is_filled};
use crate::request::{RequestError, shown};

/// The members that were found. Others are passed over.
#[derive(Debug)]
pub(super) struct Fields<'a>(Vec<(&'static str, &'a str)>);

impl<'a> Fields<'a> {
    /// Reads the members of an object. A name in `known` may have the place of its object before a
    /// point, as in `options.seed`: errors show it whole.
    ///
    /// # Errors
    ///
    /// The value is no object, or a known member is there twice.
    pub(super) fn read(
        (place, object): (&'static str, &'a str),
        known: &[&'static str],
    ) -> Result<Self, RequestError> {
        if !object.starts_with('{') {
            return Err(wrong(place, object, "an object"));
        }
        let mut found: Vec<(&'static str, &'a str)> = Vec::new();
        let walked = each_member(object, |member| {
            let known = known.iter().find(|known| own_name(known) == member.name);
            let Some(&name) = known else {
                return Ok(());
            };
            if found.iter().any(|(before, _)| *before == name) {
                return Err(Failure::Refused(RequestError::Duplicate { name }));
            }
            found.push((name, member.value));
            Ok(())
        });
        walked.map_err(|failure| failure.error(place, object))?;
        Ok(Self(found))
    }

    /// Returns a member, `None` if it is missing or null.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        let found = self.0.iter().find(|(found, _)| *found == name);
        found.map(|(_, value)| *value).filter(|it| *it != "null")
    }

    /// Returns a string with its quotes, `None` if it is missing or null.
    pub(super) fn string(&self, name: &'static str) -> Result<Option<&'a str>, RequestError> {
        self.checked(name, "a string", |value| value.starts_with('"'))
    }

    /// Returns a list with its brackets, `None` if it is missing or null.
    pub(super) fn list(&self, name: &'static str) -> Result<Option<&'a str>, RequestError> {
        self.checked(name, "a list", |value| value.starts_with('['))
    }

    /// Returns a number, `None` if it is missing or null.
    pub(super) fn number(&self, name: &'static str) -> Result<Option<&'a str>, RequestError> {
        self.checked(name, "a number", is_number)
    }

    /// Returns whether a member is true. It is not if it is missing or null.
    pub(super) fn flag(&self, name: &'static str) -> Result<bool, RequestError> {
        let is_flag = |value: &str| matches!(value, "true" | "false");
        let value = self.checked(name, "true or false", is_flag)?;
        Ok(value == Some("true"))
    }

    /// Refuses a member that is not empty, zero or false, because the runtime cannot do it.
    pub(super) fn refuse(
        &self,
        name: &'static str,
        reason: &'static str,
    ) -> Result<(), RequestError> {
        let asks = |value: &str| is_filled(value) || value == "true" || is_number(value);
        match self.get(name).filter(|value| asks(value)) {
            Some(_) => Err(RequestError::NotTranslatable { name, reason }),
            None => Ok(()),
        }
    }

    fn checked(
        &self,
        name: &'static str,
        expected: &'static str,
        is_right: impl Fn(&str) -> bool,
    ) -> Result<Option<&'a str>, RequestError> {
        match self.get(name) {
            Some(value) if !is_right(value) => Err(wrong(name, value, expected)),
            value => Ok(value),
        }
    }
}

/// Calls `visit` for each item of a list of a request.
pub(super) fn items<'a>(
    name: &'static str,
    list: &'a str,
    mut visit: impl FnMut(&'a str) -> Result<(), RequestError>,
) -> Result<(), RequestError> {
    let walked = each_item(list, |item| visit(item).map_err(Failure::Refused));
    walked.map_err(|failure| failure.error(name, list))
}

/// Returns the error of a wrong value.
pub(super) fn wrong(name: &'static str, found: &str, expected: &'static str) -> RequestError {
    RequestError::WrongValue {
        name,
        found: shown(found),
        expected,
    }
}

fn is_number(value: &str) -> bool {
    value.starts_with(|first: char| first == '-' || first.is_ascii_digit())
}

/// Returns a name without the place of its object.
fn own_name(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// Why a walk has ended.
enum Failure {
    NotJson,
    Refused(RequestError),
}

impl Failure {
    fn error(self, name: &'static str, found: &str) -> RequestError {
        match self {
            Self::Refused(error) => error,
            Self::NotJson => wrong(name, found, "JSON"),
        }
    }
}

impl From<NotJsonError> for Failure {
    fn from(NotJsonError: NotJsonError) -> Self {
        Self::NotJson
    }
}
