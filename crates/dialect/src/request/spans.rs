//! Where the members of a body stand that may be edited.

use std::ops::Range;

/// The places in a body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Spans {
    /// There is no body that could be edited.
    #[default]
    None,
    /// A body of JSON.
    Json(JsonSpans),
    /// A form.
    Form(FormSpans),
}

/// The places in a JSON object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct JsonSpans {
    /// Behind the `{`.
    pub(crate) start: usize,
    /// The number of members.
    pub(crate) members: usize,
    /// The value of the model.
    pub(crate) model: Option<Range<usize>>,
    /// The value of `stream`.
    pub(crate) stream: Option<Range<usize>>,
    /// The value of `input`, if it is a list of inputs of embeddings.
    pub(crate) inputs: Option<Range<usize>>,
    /// The value of `return_progress`.
    pub(crate) return_progress: Option<Range<usize>>,
    /// `stream_options`.
    pub(crate) stream_options: StreamOptions,
    /// The member `keep_alive`, with one comma if there are others.
    pub(crate) keep_alive: Option<Range<usize>>,
    /// The first block of `system`, with one comma if there are others.
    pub(crate) billing_header: Option<Range<usize>>,
}

/// The places of `stream_options`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum StreamOptions {
    /// It is missing.
    #[default]
    Missing,
    /// It is null, at this place.
    Null(Range<usize>),
    /// It is an object.
    Object {
        /// Behind the `{`.
        start: usize,
        /// True if it has members.
        has_members: bool,
        /// The value of `include_usage`.
        include_usage: Option<Range<usize>>,
    },
    /// It is something else, which the runtime refuses.
    Other,
}

/// The places in a form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FormSpans {
    /// The text that separates the parts, without the dashes before it.
    pub(crate) boundary: String,
    /// Where the first boundary begins.
    pub(crate) start: usize,
    /// The content of the part `model`.
    pub(crate) model: Option<Range<usize>>,
    /// The content of the part `stream`.
    pub(crate) stream: Option<Range<usize>>,
}
