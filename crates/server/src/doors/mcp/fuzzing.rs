//! The checks of the fuzz targets in `fuzz/`, which need the internals of this door.
//!
//! Compiled with the feature `fuzzing` alone; not a part of the interface.

use axum::http::{HeaderMap, HeaderValue, Uri, header};
use llamapool_head::{FieldValue, Fields};
use llamapool_http::reserved;
use llamapool_identity::{AdminRight, Records};
use llamapool_wire::path::TunnelPath;
use llamapool_wire::{CallerTag, RelayId, Secret, header as wire};

use super::call_headers::{self, Forwarding};
use super::cookies;
use super::session_seal::{Scope, SessionSeal};
use super::sse_to_json;
use super::target::Target;
use crate::auth::{Auth, AuthConfig, HostAndOrigin, Keys, OriginPolicy, RelayKind};
use crate::directory::RelayTag;
use crate::identity::{Identity, IdentityConfig};
use crate::listen::{
    FORWARDED_FOR, FORWARDED_HOST, FORWARDED_PROTO, ForwardedTrust, Peer, PublicUrl, RequestId,
};

/// The keys of the server, which no provider may see.
const KEY: &str = "hunter2hunter2";

/// Checks that a target leads to the id it names and to nothing above it, in any spelling.
pub fn target(url: &str) {
    let Ok(uri) = Uri::try_from(url) else {
        return;
    };
    let Ok(target) = Target::parse(&uri) else {
        return;
    };

    let path = target.in_tunnel.path();
    let parsed = TunnelPath::parse(path).expect("the tunnel's own path");
    assert_eq!(parsed.id(), target.id.as_str());

    let mut decoded = path.as_bytes().to_vec();
    // Each pass shortens the path, or is the last.
    loop {
        assert!(!has_dot_segment(&decoded), "{path}");
        let next: Vec<u8> = percent_decode(&decoded);
        if next == decoded {
            break;
        }
        decoded = next;
    }
}

fn has_dot_segment(path: &[u8]) -> bool {
    path.split(|byte| matches!(byte, b'/' | b'\\'))
        .any(|segment| {
            let name = segment.split(|byte| *byte == b';').next();
            matches!(name, Some(b"." | b".."))
        })
}

fn percent_decode(bytes: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let value = hex
            .filter(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match value {
            Some(value) if *first == b'%' => {
                decoded.push(value);
                rest = &after[2..];
            }
            _ => {
                decoded.push(*first);
                rest = after;
            }
        }
    }
    decoded
}

/// Checks that whatever a caller sends, the head in the tunnel has no header of one hop, no forged
/// forwarding header and no key of the server, and that no address breaks a line.
pub fn call_head(sent: HeaderMap, uri: &Uri) {
    let keys = Keys {
        api: Some(Secret::new(KEY)),
        ..Keys::default()
    };
    let bind = [127, 0, 0, 1].into();
    let policy = OriginPolicy::new(&AuthConfig::default(), None, bind);
    if let Ok(source) = HostAndOrigin::read(&sent) {
        let _ = policy.check(&source, uri);
    }
    let any = |network: &str| network.parse().ok();
    let trusting = ForwardedTrust::Proxies(["10.0.0.0/8"].into_iter().filter_map(any).collect());
    let identity = Identity::new(IdentityConfig::default(), Records::default());
    let public = PublicUrl::new(None, trusting.clone());
    let auth = Auth::new(&keys, identity, policy, public);
    let _ = (
        auth.operator(&sent, uri, Peer::default(), AdminRight::State)
            .is_ok(),
        auth.administrator(&sent, uri, Peer::default()).is_ok(),
        auth.relay(&sent, RelayKind::Mcp, Peer::default()).is_ok(),
    );

    for trust in [ForwardedTrust::Untrusted, trusting] {
        let public = PublicUrl::new(None, trust);
        let address = public.of(&sent, uri);
        let req_id = RequestId::of(&sent);
        let fields = Fields::from(&sent);
        let forwarding = Forwarding {
            caller: CallerTag::new(1, None).to_header(),
            auth: &auth,
            forwarded_for: public.forwarded_for(&sent, Peer::default()),
            address: address.as_ref(),
            accept: sse_to_json::accepts_anything(&fields).then_some(sse_to_json::BOTH_TYPES),
        };
        if let Some(address) = &address {
            let url = address.url("/api/mcp/id/x");
            assert!(Uri::try_from(&url).is_ok(), "{url}");
        }

        let mut head = Fields::from(&sent);
        call_headers::rewrite(&mut head, forwarding, req_id.as_str());
        let head = head.to_http().expect("as many as were sent, and some");

        for name in [
            "connection",
            "keep-alive",
            "te",
            "transfer-encoding",
            "upgrade",
            "host",
        ] {
            assert!(!head.contains_key(name), "{name}");
        }
        for name in head.keys() {
            let is_own = name.as_str().starts_with(wire::PREFIX) && *name != wire::CALLER;
            let of_the_server = [
                FORWARDED_FOR,
                FORWARDED_HOST,
                FORWARDED_PROTO,
                wire::CALLER,
                wire::REQUEST_ID,
            ];
            let is_reserved =
                !of_the_server.contains(name) && reserved::is_reserved_in_request(name);
            assert!(!is_own && !is_reserved, "{name}");
        }
        for name in [
            FORWARDED_FOR,
            FORWARDED_HOST,
            FORWARDED_PROTO,
            wire::CALLER,
            wire::REQUEST_ID,
        ] {
            assert!(head.get_all(&name).iter().count() <= 1, "{name}");
        }
        let authorization = head.get_all(header::AUTHORIZATION);
        assert!(
            authorization
                .iter()
                .all(|value| value != &format!("Bearer {KEY}"))
        );
    }
}

/// Checks that what was sealed opens for the same id and purpose alone, and nothing else does.
pub fn seal(id: &str, session: &[u8]) {
    let Ok(id) = id.parse::<RelayId>() else {
        return;
    };
    let seal = SessionSeal::new(&Secret::new("a key"));
    assert_eq!(
        seal.open(Scope::session(&id, None), session),
        None,
        "a forgery"
    );

    let tag = RelayTag::from_bytes([7; RelayTag::LEN]);
    let sealed = seal
        .seal(Scope::session(&id, None), tag, session)
        .expect("sealed");
    let opened = seal.open(Scope::session(&id, None), sealed.as_bytes());
    assert_eq!(opened.expect("its own").session, session);
    assert_eq!(seal.open(Scope::place(&id, None), sealed.as_bytes()), None);
    let other = SessionSeal::new(&Secret::new("another key"));
    assert_eq!(
        other.open(Scope::session(&id, None), sealed.as_bytes()),
        None
    );
    let other: RelayId = "another-id-than-any".parse().expect("an id");
    assert_eq!(
        seal.open(Scope::session(&other, None), sealed.as_bytes()),
        None
    );
}

/// Checks that a cookie of a provider is set for its id alone, and that no other id gets it back.
pub fn cookie(text: &str) {
    let Ok(cookie) = HeaderValue::from_str(text) else {
        return;
    };
    let id = |name: &str| name.parse::<RelayId>().expect("an id");
    let mut headers = Fields::new();
    headers.append(&header::SET_COOKIE, &cookie);

    cookies::to_caller(&mut headers, &id("a"), "", false);

    let Some(own) = headers
        .get(&header::SET_COOKIE)
        .and_then(FieldValue::to_http)
    else {
        return;
    };
    let mut parts = own.as_bytes().split(|byte| *byte == b';');
    let pair = parts.next().expect("a pair").to_vec();
    let names: Vec<_> = parts
        .filter_map(|part| part.split(|byte| *byte == b'=').next())
        .map(|name| name.trim_ascii().to_ascii_lowercase())
        .collect();
    assert!(pair.starts_with(b"llamapool-a!"), "{own:?}");
    let paths = names.iter().filter(|name| *name == b"path").count();
    assert!(
        paths == 1 && !names.contains(&b"domain".to_vec()),
        "{own:?}"
    );
    assert!(own.as_bytes().ends_with(b"; Path=/api/mcp/id/a"), "{own:?}");

    let Ok(pair) = HeaderValue::from_bytes(&pair) else {
        return;
    };
    let returned = |to: &str| {
        let mut headers = Fields::new();
        headers.append(&header::COOKIE, &pair);
        cookies::to_provider(&mut headers, &id(to), false);
        headers.contains_key(&header::COOKIE)
    };
    assert!(!returned("b"), "{own:?}");
}
