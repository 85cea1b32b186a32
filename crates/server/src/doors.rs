//! The doors: groups of public routes, each in its own file with the context that it works with.

pub(crate) mod admin_api;
pub(crate) mod connect;
pub(crate) mod health;
pub(crate) mod llm;
pub(crate) mod mcp;
pub(crate) mod metrics;
pub(crate) mod oauth;
pub(crate) mod state;
pub(crate) mod well_known;
