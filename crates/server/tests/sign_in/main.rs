//! Sign-in: clients that follow the steps of OAuth against a server in this process, with the requests
//! of the programs that people use.

#![allow(
    clippy::unwrap_used,
    reason = "a test may panic, and so may the helpers of tests"
)]

mod administering;
mod audit;
mod authorizing;
mod clients;
mod consenting;
mod document_clients;
mod document_fetch;
mod document_host;
mod documents;
mod ending;
mod kit;
mod origin;
mod reading;
mod redeeming;
mod registering;
