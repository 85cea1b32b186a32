//! Measures Rust sources: the language of comments, the size and air of functions, names.
//!
//! The bounds are in `tests/style.rs`; this crate only counts. It reads text and tokens, compiles
//! nothing, and can therefore measure any checkout, also one that does not build.

mod comments;
mod counting;
mod functions;
mod measures;
mod names;
mod prose;
mod sources;
mod table;

pub use measures::{Allowed, Bound, MEASURES, Measure, Scope};
pub use sources::{Package, find_packages};
pub use table::{findings_below, table, unneeded, violations};
