//! The doors: groups of public routes, each in its own file.

pub(crate) mod admin;
pub(crate) mod mcp;
pub(crate) mod relay;
pub(crate) mod well_known;
