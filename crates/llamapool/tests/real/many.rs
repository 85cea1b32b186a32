//! Many sessions side by side on one relay.

use std::collections::BTreeSet;

use crate::harness::Pool;
use crate::parts::{FASTMCP_4, Served, drive};
use crate::stateful::{expected, session};

const CLIENTS: usize = 20;

/// `drive.py` makes sure that all of them have a session and an open stream at the same time.
#[tokio::test]
async fn twenty_official_clients_at_once_each_see_what_one_sees() {
    let pool = Pool::start().await;
    let provider = Served::start(FASTMCP_4, "stateful.py").await;
    let _relay = pool.relay("many", &provider.url).await;

    let all = drive(&pool.mcp("many"), CLIENTS).await;
    let sessions: BTreeSet<_> = all.iter().map(|seen| session(seen)).collect();

    assert_eq!(sessions.len(), CLIENTS);

    for (number, seen) in all.iter().enumerate() {
        assert_eq!(seen, &expected(session(seen)), "client {number}");
    }
    let client = pool
        .until_client("many", "no call is left", |client| client["inflight"] == 0)
        .await;

    assert_eq!(client["errors_total"], 0, "{client}");
    assert_eq!(client["functions"]["initialize"], CLIENTS, "{client}");
}
