//! The revisions of MCP and their features: the first table of `docs/reference/fidelity.md`.
//!
//! A feature of a revision that no scenario covers is a failure, so that the document cannot claim
//! more than was tested.

/// A revision of MCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Revision {
    R2024_11_05,
    R2025_03_26,
    R2025_06_18,
    R2025_11_25,
    R2026_07_28,
}

use Revision::{R2024_11_05, R2025_03_26, R2025_06_18, R2025_11_25, R2026_07_28};

/// All revisions.
pub(crate) const ALL: &[Revision] = &[
    R2024_11_05,
    R2025_03_26,
    R2025_06_18,
    R2025_11_25,
    R2026_07_28,
];
/// Those with one endpoint.
pub(crate) const STREAMABLE: &[Revision] = &[R2025_03_26, R2025_06_18, R2025_11_25, R2026_07_28];
/// Those with sessions.
pub(crate) const SESSIONS: &[Revision] = &[R2025_03_26, R2025_06_18, R2025_11_25];
/// Those with OAuth metadata of the server itself.
pub(crate) const AUTHORIZING: &[Revision] = &[R2025_06_18, R2025_11_25, R2026_07_28];
/// Those whose servers send requests to their clients.
const ASKING: &[Revision] = &[R2024_11_05, R2025_03_26, R2025_06_18, R2025_11_25];
/// HTTP with SSE.
pub(crate) const OLDEST: &[Revision] = &[R2024_11_05];
/// The one whose servers may end a stream before its answer.
pub(crate) const POLLING: &[Revision] = &[R2025_11_25];
/// The one with batches.
pub(crate) const BATCHING: &[Revision] = &[R2025_03_26];
/// The one without sessions.
pub(crate) const MODERN: &[Revision] = &[R2026_07_28];

impl Revision {
    /// Returns its name in messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            R2024_11_05 => "2024-11-05",
            R2025_03_26 => "2025-03-26",
            R2025_06_18 => "2025-06-18",
            R2025_11_25 => "2025-11-25",
            R2026_07_28 => "2026-07-28",
        }
    }
}

/// A feature of a revision that an intermediary could break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Feature {
    Bodies,
    Headers,
    Statuses,
    EventStreams,
    Disconnects,
    Cancelling,
    ManyAtOnce,
    Batches,
    Sessions,
    ListeningByGet,
    Resuming,
    ClientRequests,
    HttpWithSse,
    Calls,
    QuestionsInResults,
    Subscriptions,
    ParamHeaders,
    AnsweredByLlamapool,
}

/// All features, in the order of the table.
pub(crate) const FEATURES: &[Feature] = &[
    Feature::Bodies,
    Feature::Headers,
    Feature::Statuses,
    Feature::EventStreams,
    Feature::Disconnects,
    Feature::Cancelling,
    Feature::ManyAtOnce,
    Feature::Batches,
    Feature::Sessions,
    Feature::ListeningByGet,
    Feature::Resuming,
    Feature::ClientRequests,
    Feature::HttpWithSse,
    Feature::Calls,
    Feature::QuestionsInResults,
    Feature::Subscriptions,
    Feature::ParamHeaders,
    Feature::AnsweredByLlamapool,
];

impl Feature {
    /// Returns its name in the document.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bodies => "bodies, byte for byte",
            Self::Headers => "headers, all values",
            Self::Statuses => "statuses and methods",
            Self::EventStreams => "event streams",
            Self::Disconnects => "disconnects and broken streams",
            Self::Cancelling => "cancelling",
            Self::ManyAtOnce => "concurrent streams, slow readers",
            Self::Batches => "batches",
            Self::Sessions => "sessions",
            Self::ListeningByGet => "listening with GET",
            Self::Resuming => "resuming with `Last-Event-ID`",
            Self::ClientRequests => "sampling and elicitation by requests",
            Self::HttpWithSse => "HTTP with SSE",
            Self::Calls => "calls without a session",
            Self::QuestionsInResults => "questions in results",
            Self::Subscriptions => "`subscriptions/listen`",
            Self::ParamHeaders => "`Mcp-Method`, `Mcp-Name`, `Mcp-Param-*`",
            Self::AnsweredByLlamapool => "exchanges that llamapool changes or answers itself",
        }
    }

    /// Returns the revisions that have it.
    pub(crate) fn revisions(self) -> &'static [Revision] {
        match self {
            Self::Bodies
            | Self::Headers
            | Self::Statuses
            | Self::EventStreams
            | Self::Disconnects
            | Self::Cancelling
            | Self::ManyAtOnce
            | Self::AnsweredByLlamapool => ALL,
            Self::Batches => BATCHING,
            Self::Sessions | Self::ListeningByGet | Self::Resuming => SESSIONS,
            Self::ClientRequests => ASKING,
            Self::HttpWithSse => OLDEST,
            Self::Calls => STREAMABLE,
            Self::QuestionsInResults | Self::Subscriptions | Self::ParamHeaders => MODERN,
        }
    }
}
