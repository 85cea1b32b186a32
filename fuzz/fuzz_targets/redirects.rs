//! Redirect URIs and resources: what is taken is read by browsers as it was read here, and so is the
//! answer that goes there.

#![no_main]

use libfuzzer_sys::fuzz_target;
use llamapool_identity::{ClientId, RedirectPolicy, RedirectTarget, ResourceServer};
use url::Url;

fuzz_target!(|text: &str| {
    redirect(text);
    resource(text);
    if let Ok(id) = text.parse::<ClientId>() {
        assert_eq!(id.as_str(), text);
        if id.is_document() {
            let browser = Url::parse(text).unwrap();
            assert_eq!(browser.host_str(), id.document_host().as_deref());
        }
    }
});

fn redirect(text: &str) {
    let Ok(redirect) = RedirectPolicy::default().parse(text) else {
        return;
    };
    assert_eq!(redirect.as_str(), text);
    assert!(redirect.admits(&redirect));
    let answer = redirect.with_parameters(&[("code", "a b"), ("state", text)]);

    for url in [text, &answer] {
        // Punycode is the one thing that browsers read in an ASCII host and that is not read here.
        let Ok(browser) = Url::parse(url) else {
            assert!(url.to_ascii_lowercase().contains("xn--"), "{url}");
            return;
        };
        let host = browser.host_str().unwrap_or_default();
        assert!(browser.username().is_empty() && browser.password().is_none());
        assert!(browser.fragment().is_none());
        match redirect.target() {
            RedirectTarget::Web(own) => assert_eq!((browser.scheme(), host), ("https", &**own)),
            RedirectTarget::Loopback => {
                let is_here = host == "localhost" || host == "[::1]" || host.starts_with("127.");
                assert!(browser.scheme() == "http" && is_here, "{url}");
            }
            RedirectTarget::Program(own) => assert_eq!(browser.scheme(), &**own),
        }
    }
}

fn resource(text: &str) {
    let server = ResourceServer::new("https://pool.example/tools").unwrap();
    if let Ok(id) = server.id_of(text) {
        let browser = Url::parse(text).unwrap();
        assert_eq!(
            browser.origin(),
            Url::parse("https://pool.example").unwrap().origin()
        );
        let path = browser.path().strip_prefix("/tools/api/mcp/id/").unwrap();
        assert_eq!(path.split('/').next(), Some(id.as_str()));
        assert_eq!(server.id_of(&server.url_of(&id)), Ok(id));
    }
}
