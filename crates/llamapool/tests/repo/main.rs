//! The repository agrees with itself: its crates, its documents and its tables with its code.

mod arrows;
mod docs;
mod docs_errors;
