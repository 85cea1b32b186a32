//! The heads of HTTP messages, as slices of the bytes that they came in.
//!
//! [`http::HeaderMap`] makes a value of each name and each value, hashes each name, and is cloned whole. A
//! call passes four heads, most of whose fields are never looked at: here a field is two ranges of bytes,
//! in the order of arrival. A field is found by comparing names, and one that is not there by one bit.
//!
//! Nothing here reads or writes HTTP/1.1 or a frame of the tunnel: those make and take these types.

mod fields;
mod lookup;
mod message;
mod name;
mod value;

pub use fields::{FieldSpan, Fields};
pub use lookup::{FieldLookup, Values};
pub use message::{RequestHead, ResponseHead};
pub use name::{NameSet, is_field_name, is_field_value};
pub use value::{FieldValue, NotTextError};
