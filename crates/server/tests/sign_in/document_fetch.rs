//! The fetch of documents, whose URLs strangers choose: what must not be reached, and answers that
//! never end, are compressed, or lead elsewhere.

use std::io::Write;
use std::time::Instant;

use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::future::join_all;
use llamapool_server::{DocumentLives, SignInConfig};
use llamapool_testkit::{Answer, Pool, soon};
use serde_json::{Value, json};

use crate::document_host::{ADDRESS, DocumentHost, Reply, response};
use crate::kit::{App, PUBLIC, Place, REDIRECT, encoded};

/// The document of most tests.
const URL: &str = "https://app.example/client.json";
/// What everyone is told about an address that is not got at, whatever is there.
const UNREACHABLE: &str = "it cannot be reached on the public internet";

/// A server, and the web sites of its clients. Each request of a person comes from another address.
pub(crate) struct Web {
    pub(crate) place: Place,
    pub(crate) host: DocumentHost,
    people: std::sync::atomic::AtomicU32,
}

impl Web {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(configure: impl FnOnce(&mut SignInConfig)) -> Self {
        let host = DocumentHost::start().await;
        let mut config = SignInConfig {
            network: host.network(),
            ..SignInConfig::default()
        };
        configure(&mut config);
        let place = Place::with(|server| {
            server.sign_in = Some(config);
            server.listen.trust_forwarded = true;
        })
        .await;
        Self {
            place,
            host,
            people: 0.into(),
        }
    }

    /// Such a server that fetches a document anew each time.
    pub(crate) async fn forgetful() -> Self {
        Self::with(|config| {
            config.documents = DocumentLives {
                min_fresh: std::time::Duration::ZERO,
                ..DocumentLives::default()
            };
        })
        .await
    }

    /// Opens the page of a client whose id is a URL, from an address of its own.
    pub(crate) async fn page(&self, url: &str) -> Answer {
        let person = self
            .people
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let [_, _, second, last] = person.to_be_bytes();
        self.page_from(url, &format!("198.51.{second}.{last}"))
            .await
    }

    async fn page_from(&self, url: &str, address: &str) -> Answer {
        let app = app(url);
        let parameters = app.parameters("notes");
        let parameters: Vec<_> = parameters.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let path = format!("{PUBLIC}/oauth/authorize?{}", encoded(&parameters));
        let request = self.place.pool.http.get(self.place.reached(&path));
        let request = request.header("x-forwarded-for", address);
        let answer = soon("an answer", request.send()).await.unwrap();
        Answer::read(answer).await
    }

    /// Checks that a client is refused with a page, and why.
    async fn refused(&self, url: &str, why: &str) {
        let page = self.page(url).await;
        assert_eq!(page.status(), 400, "{url}: {}", page.text());
        assert_eq!(page.header("location"), None, "{url}");
        let found = page.text().contains(why);
        assert!(found, "{url}: expected {why:?} in {}", page.text());
    }
}

pub(crate) fn app(url: &str) -> App {
    App {
        id: url.to_owned(),
        redirect: REDIRECT.to_owned(),
    }
}

pub(crate) fn document(url: &str) -> Value {
    json!({"client_id": url, "client_name": "An app", "redirect_uris": [REDIRECT]})
}

fn good_body() -> Vec<u8> {
    document(URL).to_string().into_bytes()
}

fn is_alive(pool: &Pool) -> impl Future<Output = u16> {
    let request = pool.http.get(format!("{}/healthz", pool.url)).send();
    async { soon("health", request).await.unwrap().status().as_u16() }
}

#[tokio::test]
async fn a_good_document_is_fetched_once_with_nothing_of_ours() {
    let web = Web::start().await;
    web.host.publish(&document(URL));

    let page = web.page(URL).await;

    assert_eq!(page.status(), 200, "{}", page.text());
    assert_eq!(web.page(URL).await.status(), 200, "it is remembered");
    let published = "published by <strong>app.example</strong>";
    assert!(page.text().contains(published), "{}", page.text());
    assert_eq!(web.host.lookups(), ["app.example"]);
    let dialled: Vec<_> = web.host.dials().iter().map(ToString::to_string).collect();
    assert_eq!(dialled, [format!("{ADDRESS}:443")]);
    let [request] = &web.host.requests()[..] else {
        panic!("{:?}", web.host.requests());
    };
    let mut lines: Vec<_> = request.trim_end().lines().collect();
    assert_eq!(lines.remove(0), "GET /client.json HTTP/1.1");
    lines.sort_unstable();
    let agent = format!("user-agent: llamapool/{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(
        lines,
        [
            "accept-encoding: identity",
            "accept: application/json",
            "connection: close",
            "host: app.example",
            &agent,
        ]
    );
}

#[tokio::test]
async fn addresses_in_urls_are_not_even_looked_up() {
    let web = Web::start().await;

    for host in [
        "127.0.0.1",
        "169.254.169.254",
        "1.1.1.1",
        "[::1]",
        "[::ffff:7f00:1]",
        "localhost",
        "metadata",
        "app.example:8443",
        "app.example:22",
    ] {
        let url = format!("https://{host}/client.json");
        web.refused(&url, &format!("https://{host}/client.json"))
            .await;
    }

    assert_eq!(web.host.lookups(), Vec::<String>::new());
    assert_eq!(web.host.dials(), []);
}

#[tokio::test]
async fn names_of_addresses_that_are_not_public_are_not_dialled() {
    let web = Web::start().await;

    let addresses = [
        "127.0.0.1",
        "0.0.0.0",
        "10.0.0.1",
        "100.100.100.200",
        "169.254.169.254",
        "172.16.0.1",
        "192.0.0.192",
        "192.168.1.1",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fd00:ec2::254",
        "ff02::1",
        "2001:db8::1",
        // The wrappings of IPv4: mapped, translated, compatible, NAT64, 6to4, Teredo, ISATAP.
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:0:127.0.0.1",
        "::127.0.0.1",
        "64:ff9b::169.254.169.254",
        "64:ff9b:1::10.0.0.1",
        "2002:a9fe:a9fe::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "2606:4700::5efe:169.254.169.254",
    ];
    for (number, address) in addresses.into_iter().enumerate() {
        let name = format!("{number}.many.example");
        web.host.resolve(&name, &[&[address]]);
        web.refused(&format!("https://{name}/client.json"), UNREACHABLE)
            .await;
    }

    assert_eq!(web.host.dials(), []);
}

/// Not the public one either: which one is dialled would be a matter of luck.
#[tokio::test]
async fn one_address_that_is_not_public_refuses_the_name() {
    let web = Web::start().await;
    web.host.publish(&document(URL));

    for addresses in [
        &[ADDRESS, "127.0.0.1"],
        &["10.0.0.1", ADDRESS],
        &["2606:4700::1", "::ffff:10.0.0.1"],
    ] {
        let name = format!("b{}.many.example", addresses[0].len());
        web.host.resolve(&name, &[addresses]);
        web.refused(&format!("https://{name}/client.json"), UNREACHABLE)
            .await;
    }

    assert_eq!(web.host.dials(), []);
}

/// A look-up that answers otherwise the second time gains nothing: there is no second one.
#[tokio::test]
async fn what_was_checked_is_what_is_dialled() {
    let web = Web::forgetful().await;
    web.host.publish(&document(URL));
    web.host
        .resolve("app.example", &[&[ADDRESS], &["127.0.0.1"]]);

    let first = web.page(URL).await;

    assert_eq!(first.status(), 200, "{}", first.text());
    assert_eq!(web.host.lookups().len(), 1);
    let second = web.page(URL).await;
    assert!(
        second.text().contains("cannot be reached now"),
        "{}",
        second.text()
    );
    assert_eq!(web.host.lookups().len(), 2);
    let dialled: Vec<_> = web.host.dials().iter().map(ToString::to_string).collect();
    assert_eq!(dialled, [format!("{ADDRESS}:443")]);
}

#[tokio::test]
async fn a_host_without_an_answer_looks_like_a_private_one() {
    let web = Web::start().await;
    let at = |name: &str| format!("https://{name}.many.example/client.json");
    web.host.resolve("private.many.example", &[&["10.0.0.1"]]);
    web.host.resolve("none.many.example", &[&[]]);

    let mut pages = Vec::new();
    for name in ["private", "none"] {
        pages.push(web.page(&at(name)).await);
    }
    web.host.set_down(true);
    pages.push(web.page(&at("down")).await);
    web.host.set_down(false);
    // Its certificate is of other names.
    pages.push(web.page("https://other.example/client.json").await);

    for page in pages {
        assert_eq!(page.status(), 400);
        assert!(page.text().contains(UNREACHABLE), "{}", page.text());
        for told in ["10.0.0.1", "refused", "resolve", "certificate"] {
            assert!(!page.text().contains(told), "{told}: {}", page.text());
        }
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let web = Web::start().await;
    let good = "https://app.example/good.json";
    web.host.publish(&document(good));

    for (number, location) in [good, "https://127.0.0.1/", "/good.json"]
        .iter()
        .enumerate()
    {
        let url = format!("https://app.example/{number}.json");
        let head = format!("location: {location}\r\ncontent-type: application/json\r\n");
        let reply = response("302 Found", &head, &good_body());
        web.host.reply(&url, Reply::Bytes(reply));
        web.refused(&url, "redirects are not followed").await;
    }

    assert_eq!(web.host.requests().len(), 3);
    assert_eq!(web.host.lookups().len(), 3);
}

#[tokio::test]
async fn an_answer_of_a_gigabyte_is_not_taken() {
    let web = Web::start().await;
    let json = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    let announced = "https://app.example/announced.json";
    let length = format!("{json}content-length: 1073741824\r\n\r\n");
    web.host.reply(announced, Reply::Endless(length.into()));
    let without = "https://app.example/without.json";
    let reply = Reply::Endless(format!("{json}\r\n").into());
    web.host.reply(without, reply);
    let head = "https://app.example/head.json";
    let reply = Reply::Endless(format!("{json}x-long: ").into());
    web.host.reply(head, reply);

    web.refused(announced, "more than 5120 bytes").await;
    web.refused(without, "more than 5120 bytes").await;
    web.refused(head, "the answer is broken").await;

    // What is on its way in buffers of the system is sent, but not taken.
    let taken = web.host.taken();
    assert!(taken < 32 * 1024 * 1024, "{taken}");
    assert_eq!(is_alive(&web.place.pool).await, 200);
}

#[tokio::test]
async fn an_answer_that_drips_or_stops_is_given_up() {
    let web = Web::start().await;
    let good = response("200 OK", "content-type: application/json\r\n", &good_body());
    let drips = "https://app.example/drips";
    let stops = "https://app.example/stops";
    web.host.reply(drips, Reply::Drip(good.clone()));
    web.host.reply(stops, Reply::Held(good));

    let (drips, stops) = tokio::join!(web.page(drips), web.page(stops));

    for page in [drips, stops] {
        assert!(page.text().contains(UNREACHABLE), "{}", page.text());
    }
}

/// Nothing is unpacked, whatever the head says of it.
#[tokio::test]
async fn a_compressed_answer_is_not_unpacked() {
    let web = Web::start().await;
    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    for _ in 0..1024 {
        bomb.write_all(&[b' '; 1024]).unwrap();
    }
    let bomb = bomb.finish().unwrap();
    assert!(bomb.len() < 5 * 1024);
    let json = "content-type: application/json\r\n";

    for (path, head, why) in [
        ("a", format!("{json}content-encoding: gzip\r\n"), "gzip"),
        (
            "b",
            format!("{json}content-encoding: br, gzip\r\n"),
            "br, gzip",
        ),
        ("c", json.to_owned(), "not as expected"),
    ] {
        let url = format!("https://app.example/{path}");
        web.host
            .reply(&url, Reply::Bytes(response("200 OK", &head, &bomb)));
        web.refused(&url, why).await;
    }
}

#[tokio::test]
async fn a_caller_with_very_many_urls_is_slowed() {
    const URLS: usize = 1000;
    let web = Web::start().await;

    let mut statuses = Vec::new();
    for number in 0..URLS {
        let url = format!("https://{number}.many.example/client.json");
        statuses.push(web.page_from(&url, "198.51.100.1").await.status());
    }

    let refused = statuses.iter().filter(|status| **status == 503).count();
    let fetched = web.host.requests().len();
    assert!((1..100).contains(&fetched), "{fetched}");
    assert_eq!(
        refused + fetched,
        URLS,
        "the others were told to come again"
    );
    web.host.publish(&document(URL));
    assert_eq!(web.page(URL).await.status(), 200, "others are served");
}

#[tokio::test]
async fn a_host_is_not_asked_more_often_than_it_can_bear() {
    let web = Web::start().await;
    let since = Instant::now();
    let mut statuses = Vec::new();

    for number in 0..40 {
        let url = format!("https://app.example/{number}.json");
        statuses.push(web.page(&url).await.status());
    }

    let asked = web.host.requests().len();
    // Four at once, and one for each second that went by.
    let most = 5 + usize::try_from(since.elapsed().as_secs()).unwrap();
    assert!((1..=most).contains(&asked), "{asked} of {most}");
    let refused = statuses.iter().filter(|status| **status == 503).count();
    assert_eq!(refused + asked, statuses.len());
}

#[tokio::test]
async fn all_who_wait_for_a_document_wait_for_one_fetch() {
    let web = Web::start().await;
    let good = response("200 OK", "content-type: application/json\r\n", &good_body());
    web.host.reply(URL, Reply::Held(good));
    // Someone who begins it and leaves takes nothing from the others.
    let left = {
        let leaving = web.page(URL);
        tokio::pin!(leaving);
        let begun = async {
            while web.host.requests().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            () = soon("the fetch begins", begun) => true,
            _ = &mut leaving => false,
        }
    };
    assert!(left);

    let pages = join_all((0..30).map(|_| web.page(URL)));
    let (pages, ()) = tokio::join!(pages, async {
        web.host.release();
    });

    for page in pages {
        assert_eq!(page.status(), 200, "{}", page.text());
    }
    let asked = web.host.requests().len();
    assert!(asked <= 2, "{asked}");
}

#[tokio::test]
async fn a_failure_is_remembered_for_a_while() {
    let web = Web::start().await;

    for _ in 0..5 {
        web.refused(URL, "the status 404").await;
    }
    // Not even a document that is there by now.
    web.host.publish(&document(URL));
    web.refused(URL, "the status 404").await;

    assert_eq!(web.host.requests().len(), 1);
}
