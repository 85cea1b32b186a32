//! The pages of llamapool itself in Chromium: they are read on a phone and on a desktop, and the browser has nothing to
//! complain of.

use std::path::Path;

use crate::harness::Pool;
use crate::webdriver::{Browser, Screen};

const DESKTOP: Screen = Screen {
    width: 1024,
    height: 700,
    is_phone: false,
};
const PHONE: Screen = Screen {
    width: 360,
    height: 780,
    is_phone: true,
};

/// Opens a page and returns its text, and what the browser logs about it but the status of the page itself.
async fn opened(browser: &Browser, url: &str) -> (String, Vec<String>) {
    browser.load(url).await;
    let text = browser.text().await;
    let mut complaints = browser.log("browser").await;
    let of_the_status = format!("{url} - Failed to load resource");
    complaints.retain(|line| !line.starts_with(&of_the_status));
    (text, complaints)
}

#[tokio::test]
async fn browsers_read_the_pages_and_complain_of_nothing() {
    let pool = Pool::start().await;

    for (screen, name) in [(&DESKTOP, "desktop"), (&PHONE, "phone")] {
        let browser = Browser::start(screen, &[]).await;

        let (front, complaints) = opened(&browser, &format!("{}/", pool.url)).await;
        assert!(front.contains("This is a llamapool server"), "{front}");
        assert_eq!(complaints, Vec::<String>::new(), "{name}");
        is_whole(&browser, &format!("front-{name}")).await;

        let (error, complaints) = opened(&browser, &pool.mcp("nothere")).await;
        assert!(error.contains("Nothing is connected here now"), "{error}");
        assert!(error.contains("relay_offline"), "{error}");
        assert_eq!(complaints, Vec::<String>::new(), "{name}");
        is_whole(&browser, &format!("error-{name}")).await;
    }
}

/// Asserts that a page is styled and that nothing scrolls sideways. Keeps its picture.
async fn is_whole(browser: &Browser, name: &str) {
    let sideways = "return document.documentElement.scrollWidth > window.innerWidth";
    assert_eq!(browser.script(sideways).await, false, "{name}");
    let family = "return getComputedStyle(document.body).fontFamily";
    let family = browser.script(family).await;
    assert!(
        family.as_str().unwrap().starts_with("system-ui"),
        "{name}: {family}"
    );
    let scripts = "return document.scripts.length";
    assert_eq!(browser.script(scripts).await, 0, "{name}");

    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pages");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(format!("{name}.png")), browser.picture().await).unwrap();
}
