//! Proxies: their URLs, the list of exceptions and the server's URL on three lines, and what a proxy
//! answers when it is asked for a connection.

#![no_main]

use libfuzzer_sys::fuzz_target;
use llamapool_relay::fuzzing::{proxy, proxy_answer};

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        let mut lines = text.splitn(3, '\n').map(str::trim);
        let mut next = || lines.next().unwrap_or_default();
        proxy(next(), next(), next());
    }

    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(async {
        for url in ["http://proxy", "socks5h://proxy", "socks5h://me:hush@proxy"] {
            proxy_answer(url, data).await;
        }
    });
});
