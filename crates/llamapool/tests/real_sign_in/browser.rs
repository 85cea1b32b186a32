//! The page of consent in Chromium: where it leads, by which keys it works, how it looks on a phone, and that neither a page of a
//! provider nor one that frames it gets at it.

use std::path::Path;

use serde_json::json;

use crate::harness::{Provider, TlsFront};
use crate::place::{Place, Registered};
use crate::webdriver::{Browser, ENTER, Screen, TAB};

const DESKTOP: Screen = Screen {
    width: 1024,
    height: 1100,
    is_phone: false,
};
const PHONE: Screen = Screen {
    width: 360,
    height: 1300,
    is_phone: true,
};
/// The most keys until the focus is where the key is typed.
const MAX_TABS: usize = 20;

/// A page that a browser comes back to.
async fn callback() -> Provider {
    Provider::answering(|_| async {
        let html = "<title>arrived</title>arrived";
        axum::response::Response::builder()
            .header("content-type", "text/html")
            .body(html.into())
            .unwrap()
    })
    .await
}

/// Returns the origin of a provider.
fn origin(provider: &Provider) -> String {
    let url = reqwest::Url::parse(&provider.url).unwrap();
    url.origin().ascii_serialization()
}

/// Types the key and allows.
async fn allow(browser: &Browser, place: &Place) {
    browser.type_into("input[type=password]", &place.key).await;
    browser.click("button[value=allow]").await;
}

#[tokio::test]
async fn allowing_leads_to_a_public_origin() {
    let place = Place::start("8h").await;
    let callback = callback().await;
    let front = TlsFront::for_server(&origin(&callback)).await;
    let name = format!("claude.ai 127.0.0.1:{}", front.port);
    let browser = Browser::start(&DESKTOP, &[name]).await;
    let redirect = "https://claude.ai/api/mcp/auth_callback";
    let client = Registered::new(&place, "Claude", redirect).await;

    browser.load(&client.authorize(redirect)).await;
    let text = browser.text().await;
    assert!(
        text.contains("claude.ai") && text.contains("Claude"),
        "{text}"
    );
    save(&browser, "consent-desktop").await;
    allow(&browser, &place).await;

    let address = browser.arrives_at(redirect).await;
    client.redeem(&address, redirect).await;
}

#[tokio::test]
async fn allowing_leads_to_a_program_on_this_computer() {
    let place = Place::start("8h").await;
    let callback = callback().await;
    let port = origin(&callback).rsplit(':').next().unwrap().to_owned();
    let browser = Browser::start(&DESKTOP, &[]).await;
    let client = Registered::new(&place, "Claude Code", "http://localhost/callback").await;
    let redirect = format!("http://localhost:{port}/callback");

    browser.load(&client.authorize(&redirect)).await;
    let text = browser.text().await;
    assert!(text.contains("a program on this computer"), "{text}");
    allow(&browser, &place).await;

    let address = browser.arrives_at(&redirect).await;
    client.redeem(&address, &redirect).await;
}

#[tokio::test]
async fn allowing_leads_to_an_app_by_its_scheme() {
    let place = Place::start("8h").await;
    let browser = Browser::start(&DESKTOP, &[]).await;
    let redirect = "cursor://anysphere.cursor-mcp/oauth/callback";
    let client = Registered::new(&place, "Cursor", redirect).await;

    browser.load(&client.authorize(redirect)).await;
    let text = browser.text().await;
    assert!(text.contains("cursor:"), "{text}");
    allow(&browser, &place).await;

    // No program has the scheme here: that the browser asks for one is all that shows.
    let mut seen = Vec::new();
    let asked = crate::harness::soon("the browser asks for the app", async {
        loop {
            seen.extend(browser.log("performance").await);
            if let Some(line) = seen
                .iter()
                .find(|line| line.contains(&format!("{redirect}?")))
            {
                return line.clone();
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(asked.contains("code="), "{asked}");
    let refused: Vec<_> = browser.log("browser").await;
    assert!(
        !refused
            .iter()
            .any(|line| line.contains("Content Security Policy")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn denying_leads_back_with_the_reason() {
    let place = Place::start("8h").await;
    let callback = callback().await;
    let browser = Browser::start(&DESKTOP, &[]).await;
    let redirect = format!("{}/callback", origin(&callback));
    let client = Registered::new(&place, "a client", &redirect).await;

    browser.load(&client.authorize(&redirect)).await;
    browser.click("button[value=deny]").await;

    let address = browser.arrives_at(&redirect).await;
    assert!(
        address.contains("error=access_denied") && address.contains("state="),
        "{address}"
    );
}

#[tokio::test]
async fn the_page_works_by_keyboard_alone() {
    let place = Place::start("8h").await;
    let callback = callback().await;
    let browser = Browser::start(&DESKTOP, &[]).await;
    let redirect = format!("{}/callback", origin(&callback));
    let client = Registered::new(&place, "a client", &redirect).await;
    browser.load(&client.authorize(&redirect)).await;

    let mut tabs = 0;
    while browser.script("return document.activeElement.type").await != "password" {
        assert!(tabs < MAX_TABS, "the focus never gets to the field");
        browser.press(TAB).await;
        tabs += 1;
    }
    let outline = "return getComputedStyle(document.activeElement).outlineStyle";
    assert_ne!(
        browser.script(outline).await,
        "none",
        "the focus is visible"
    );
    browser.press(&place.key).await;
    browser.press(ENTER).await;

    let address = browser.arrives_at(&redirect).await;
    client.redeem(&address, &redirect).await;
}

#[tokio::test]
async fn the_page_fits_a_small_phone() {
    let place = Place::start("8h").await;
    let browser = Browser::start(&PHONE, &[]).await;
    let redirect = "http://localhost/callback";
    let long = "A client with a name that is as long as a name may be, and then some more of it";
    let client = Registered::new(&place, long, redirect).await;

    browser.load(&client.authorize(redirect)).await;

    save(&browser, "consent-phone").await;
    let widths = "return [document.documentElement.scrollWidth, window.innerWidth]";
    let widths = browser.script(widths).await;
    assert!(widths[0].as_u64() <= widths[1].as_u64(), "{widths}");
    // Each field and button is large enough for a finger (WCAG 2.2, 2.5.8: 24 px).
    let smallest =
        "return Math.min(...[...document.querySelectorAll('button, input[type=password]')]
        .map(element => element.getBoundingClientRect().height))";
    assert!(browser.script(smallest).await.as_f64().unwrap() >= 24.0);
    let labels = "return [...document.querySelectorAll('input:not([type=hidden])')]
        .filter(input => input.labels.length === 0).length";
    assert_eq!(browser.script(labels).await, 0, "each field has a label");
}

#[tokio::test]
async fn a_wrong_key_shows_the_page_again() {
    let place = Place::start("8h").await;
    let browser = Browser::start(&PHONE, &[]).await;
    let redirect = "http://localhost/callback";
    let client = Registered::new(&place, "a client", redirect).await;

    browser.load(&client.authorize(redirect)).await;
    browser
        .type_into("input[type=password]", "llp_c_wrong")
        .await;
    browser.click("button[value=allow]").await;

    browser.shows("[role=alert]").await;
    let text = browser.text().await;
    assert!(text.contains("This key is incomplete"), "{text}");
    let value = browser
        .script("return document.querySelector('input[type=password]').value")
        .await;
    assert_eq!(value, "", "what was typed is not sent back");
    save(&browser, "consent-wrong-key").await;
}

/// A provider's page has the origin of the page of consent. No script of it runs, and the browser shows nothing of it.
#[tokio::test]
async fn a_page_of_a_provider_runs_no_script() {
    let place = Place::start("8h").await;
    let hostile = Provider::answering(|_| async {
        let html = "<title>calm</title><script>document.title = 'ran'</script>";
        axum::response::Response::builder()
            .header("content-type", "text/html")
            .body(html.into())
            .unwrap()
    })
    .await;
    let _relay = place.pool.relay("hostile", &hostile.url).await;
    place.run(&["access", "set", "hostile", "open"]).await;
    let browser = Browser::start(&DESKTOP, &[]).await;

    for path in ["", "/page.html", "/x.svg", "/~announced/page"] {
        browser
            .load(&format!("{}{path}", place.pool.mcp("hostile")))
            .await;
        let title = browser.script("return document.title").await;
        assert_ne!(title, "ran", "{path}");
        let text = browser.text().await;
        assert!(text.contains("no_pages"), "{path}: {text}");
    }
}

/// A page elsewhere neither frames the page of consent nor reads it.
#[tokio::test]
async fn a_foreign_page_neither_frames_nor_reads_it() {
    let place = Place::start("8h").await;
    let foreign = callback().await;
    let browser = Browser::start(&DESKTOP, &[]).await;
    let redirect = "http://localhost/callback";
    let client = Registered::new(&place, "a client", redirect).await;
    let url = client.authorize(redirect);
    browser.load(&foreign.url).await;

    let read = format!(
        "const done = arguments[arguments.length - 1];
        fetch({url}, {{ credentials: 'include' }}).then(answer => answer.text()).then(done, error => done('refused'))",
        url = json!(url)
    );
    assert_eq!(browser.async_script(&read).await, "refused");

    let frame = format!(
        "const done = arguments[arguments.length - 1];
        const frame = document.createElement('iframe');
        frame.onload = () => done('loaded');
        frame.src = {url};
        document.body.append(frame)",
        url = json!(url)
    );
    browser.async_script(&frame).await;
    let lines = browser.log("browser").await;
    let refused = lines.iter().any(|line| {
        line.contains("frame-ancestors")
            || line.contains("X-Frame-Options")
            || line.contains("Refused to frame")
            || line.contains("refused to connect")
    });
    assert!(refused, "{lines:?}");
}

/// Keeps the picture of a page where somebody can look at it.
async fn save(browser: &Browser, name: &str) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sign_in");
    std::fs::create_dir_all(&folder).unwrap();
    let picture = browser.picture().await;
    assert!(picture.starts_with(b"\x89PNG"));
    std::fs::write(folder.join(format!("{name}.png")), picture).unwrap();
}
