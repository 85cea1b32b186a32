//! Looking for fields in a head of either type.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::fields::{self, Fields};
use crate::value::FieldValue;

/// The fields of a head, to be looked at. Names are in lower case.
pub trait FieldLookup {
    /// Returns the first value of a field.
    fn first_value(&self, name: &HeaderName) -> Option<FieldValue<'_>>;

    /// Returns all values of a field in their order.
    fn all_values<'a, 'n>(&'a self, name: &'n HeaderName) -> Values<'a, 'n>;

    /// Returns whether there is a field of this name.
    fn has_field(&self, name: &HeaderName) -> bool {
        self.first_value(name).is_some()
    }

    /// Returns the first value of a field as text, `None` if it is none.
    fn text_of(&self, name: &HeaderName) -> Option<&str> {
        self.first_value(name)?.to_str().ok()
    }
}

/// The values of one field.
pub struct Values<'a, 'n>(Inner<'a, 'n>);

enum Inner<'a, 'n> {
    Fields(fields::ValuesOf<'a, 'n>),
    Map(http::header::ValueIter<'a, HeaderValue>),
}

impl FieldLookup for Fields {
    fn first_value(&self, name: &HeaderName) -> Option<FieldValue<'_>> {
        self.get(name)
    }

    fn all_values<'a, 'n>(&'a self, name: &'n HeaderName) -> Values<'a, 'n> {
        Values(Inner::Fields(self.values_of(name.as_str())))
    }
}

impl FieldLookup for HeaderMap {
    fn first_value(&self, name: &HeaderName) -> Option<FieldValue<'_>> {
        self.get(name)
            .map(|value| FieldValue::new(value.as_bytes()))
    }

    fn all_values<'a, 'n>(&'a self, name: &'n HeaderName) -> Values<'a, 'n> {
        Values(Inner::Map(self.get_all(name).into_iter()))
    }
}

impl<'a> Iterator for Values<'a, '_> {
    type Item = FieldValue<'a>;

    fn next(&mut self) -> Option<FieldValue<'a>> {
        match &mut self.0 {
            Inner::Fields(values) => values.next(),
            Inner::Map(values) => values.next().map(|value| FieldValue::new(value.as_bytes())),
        }
    }
}

impl DoubleEndedIterator for Values<'_, '_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Inner::Fields(values) => values.next_back(),
            Inner::Map(values) => values
                .next_back()
                .map(|value| FieldValue::new(value.as_bytes())),
        }
    }
}
