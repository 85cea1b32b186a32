//! The way of a request into the API: its query, its conditions and its body, within bounds.

use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, Method, header};
use llamapool_http::{CollectError, collect, discard, linger};
use llamapool_identity::{RecordTag, RuleCondition};
use llamapool_limits::{Claim, Owner};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::AdminDoor;
use super::error::AdminError;
use crate::auth::Operator;
use crate::listen::{Peer, RequestId};

/// The largest body, in bytes: a key or a rule with some thousand patterns.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// The time for a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// The most records of one answer, and what it has if nothing is asked for.
const MAX_LISTED: usize = 1000;

/// A request with its body.
pub(super) struct AdminRequest<'a> {
    /// Who sends it.
    pub(super) operator: &'a Operator,
    pub(super) req_id: &'a RequestId,
    pub(super) headers: HeaderMap,
    /// The address that it comes from.
    pub(super) peer: Peer,
    query: String,
    body: Vec<u8>,
}

/// The part of a list that is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    /// The most records.
    pub(super) limit: Option<String>,
    /// The id of the last record of the page before.
    pub(super) after: Option<String>,
}

/// A query without parameters.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoQuery {}

impl AdminDoor {
    /// Reads a request.
    pub(super) async fn read<'a>(
        &self,
        operator: &'a Operator,
        req_id: &'a RequestId,
        request: Request,
    ) -> Result<AdminRequest<'a>, AdminError> {
        let method = request.method();
        let peer = Peer::of(request.extensions());
        if *method == Method::GET || *method == Method::HEAD || *method == Method::DELETE {
            let headers = request.headers().clone();
            let query = request.uri().query().unwrap_or_default().to_owned();
            discard(request).await;
            return Ok(AdminRequest {
                operator,
                req_id,
                headers,
                peer,
                query,
                body: Vec::new(),
            });
        }

        // A form of a page has another type, and no page can send this one to another origin unasked.
        if !is_json(request.headers()) && !has_no_body(request.headers()) {
            discard(request).await;
            return Err(AdminError::MediaType);
        }
        let (head, mut body) = request.into_parts();
        let server = Claim {
            owner: Owner::of(&"administration"),
            factor: usize::MAX,
        };
        let memory = self.memory.account_of_id(server);
        let collected = collect(&mut body, MAX_BODY_BYTES, &memory);
        let collected = tokio::time::timeout(BODY_TIMEOUT, collected).await;
        let collected = match collected {
            Ok(Ok(bytes)) => bytes.to_vec(),
            Ok(Err(CollectError::TooLarge(most))) => {
                linger(body).await;
                return Err(AdminError::TooLarge(most));
            }
            Ok(Err(CollectError::OutOfMemory(_))) => {
                linger(body).await;
                return Err(AdminError::NoMemory);
            }
            Ok(Err(CollectError::Broken)) | Err(_) => {
                return Err(AdminError::Broken(BODY_TIMEOUT));
            }
        };
        Ok(AdminRequest {
            operator,
            req_id,
            peer,
            query: head.uri.query().unwrap_or_default().to_owned(),
            headers: head.headers,
            body: collected,
        })
    }
}

impl AdminRequest<'_> {
    /// Reads the body. A member that is not known is an error: it would be a wish that is not fulfilled.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, AdminError> {
        let body = serde_json::from_slice(&self.body);
        body.map_err(|error| AdminError::Invalid(format!("the body: {error}")))
    }

    /// Reads the body of a request that may have none.
    pub(super) fn json_or_default<T: DeserializeOwned + Default>(&self) -> Result<T, AdminError> {
        if self.body.is_empty() {
            return Ok(T::default());
        }
        self.json()
    }

    /// Reads the query, whose values are texts.
    pub(super) fn query<T: DeserializeOwned>(&self) -> Result<T, AdminError> {
        let pairs = form_urlencoded::parse(self.query.as_bytes());
        let mut members = serde_json::Map::new();
        for (name, value) in pairs {
            let before = members.insert(name.to_string(), value.into_owned().into());
            if before.is_some() {
                return Err(AdminError::Invalid(format!("{name} is in the query twice")));
            }
        }
        let query = serde_json::from_value(members.into());
        query.map_err(|error| AdminError::Invalid(format!("the query: {error}")))
    }

    /// Returns the record that the change is for, if one is named.
    pub(super) fn if_match(&self) -> Result<Option<RecordTag>, AdminError> {
        if self.one(header::IF_NONE_MATCH)?.is_some() {
            let message = "If-None-Match is for rules of access alone";
            return Err(AdminError::Invalid(message.to_owned()));
        }
        self.one(header::IF_MATCH)?.map(tag_of).transpose()
    }

    /// Returns the condition of a change of a rule.
    pub(super) fn rule_condition(&self) -> Result<RuleCondition, AdminError> {
        let is = self.one(header::IF_MATCH)?;
        let is_not = self.one(header::IF_NONE_MATCH)?;
        match (is, is_not) {
            (None, None) => Ok(RuleCondition::Any),
            (Some(tag), None) => tag_of(tag).map(RuleCondition::Is),
            (None, Some("*")) => Ok(RuleCondition::Absent),
            _ => {
                let message = "expected either If-Match with an ETag, or If-None-Match: *";
                Err(AdminError::Invalid(message.to_owned()))
            }
        }
    }

    fn one(&self, name: HeaderName) -> Result<Option<&str>, AdminError> {
        let mut values = self.headers.get_all(&name).into_iter();
        let first = values.next().map(|value| value.to_str());
        match (first, values.next()) {
            (None, _) => Ok(None),
            (Some(Ok(text)), None) => Ok(Some(text)),
            _ => Err(AdminError::Invalid(format!("expected {name} once"))),
        }
    }
}

impl Page {
    /// Returns the records of the page, which are in the order of their ids, and the id behind which the
    /// next one begins.
    pub(super) fn of<T>(
        &self,
        mut records: Vec<T>,
        id: impl Fn(&T) -> String,
    ) -> Result<(Vec<T>, Option<String>), AdminError> {
        let limit = match &self.limit {
            None => MAX_LISTED,
            Some(text) => {
                let limit = text.parse().ok();
                let limit = limit.filter(|limit| (1..=MAX_LISTED).contains(limit));
                limit.ok_or_else(|| {
                    let message = format!("limit is {text:?}, expected 1 to {MAX_LISTED}");
                    AdminError::Invalid(message)
                })?
            }
        };
        if let Some(after) = &self.after {
            records.retain(|record| id(record) > *after);
        }
        records.sort_by_cached_key(&id);
        let is_whole = records.len() <= limit;
        records.truncate(limit);
        let next = records.last().filter(|_| !is_whole).map(id);
        Ok((records, next))
    }
}

fn tag_of(text: &str) -> Result<RecordTag, AdminError> {
    let tag = text.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
    let tag = tag.unwrap_or_default().parse();
    tag.map_err(|error| AdminError::Invalid(format!("If-Match: {error}")))
}

fn is_json(headers: &HeaderMap) -> bool {
    let sent = headers.get(header::CONTENT_TYPE);
    let media_type = sent.and_then(|sent| sent.to_str().ok()).unwrap_or_default();
    let mut parts = media_type.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    let is_plain = !headers.contains_key(header::CONTENT_ENCODING);
    let is_utf8 = parts.all(|parameter| {
        let charset = parameter.to_ascii_lowercase();
        let charset = charset
            .strip_prefix("charset=")
            .map(|it| it.trim_matches('"').to_owned());
        charset.is_none_or(|charset| charset == "utf-8")
    });
    is_plain && is_utf8 && essence.eq_ignore_ascii_case("application/json")
}

/// Returns whether a request has no body, as far as its head says so.
fn has_no_body(headers: &HeaderMap) -> bool {
    let length = headers.get(header::CONTENT_LENGTH);
    let is_empty = length.is_none_or(|length| length == "0");
    let has_type = headers.contains_key(header::CONTENT_TYPE);
    is_empty && !has_type && !headers.contains_key(header::TRANSFER_ENCODING)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_goes_on_behind_the_last_record() {
        let page = |limit: Option<&str>, after: Option<&str>| {
            let page = Page {
                limit: limit.map(str::to_owned),
                after: after.map(str::to_owned),
            };
            let records: Vec<String> = ["c", "a", "b"].map(str::to_owned).into();
            page.of(records, String::clone)
        };

        let (first, next) = page(Some("2"), None).unwrap();
        assert_eq!(first, ["a", "b"]);
        assert_eq!(next.as_deref(), Some("b"));
        let (second, next) = page(Some("2"), next.as_deref()).unwrap();
        assert_eq!((second, next), (vec!["c".to_owned()], None));
        assert_eq!(page(None, None).unwrap().0.len(), 3);
        for wrong in ["0", "1001", "many"] {
            assert!(page(Some(wrong), None).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_body_is_plain_json() {
        let with = |name: HeaderName, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            headers
        };

        for right in [
            "application/json",
            "Application/JSON; charset=UTF-8",
            "application/json;charset=\"utf-8\"",
        ] {
            assert!(is_json(&with(header::CONTENT_TYPE, right)), "{right}");
        }
        for wrong in [
            "",
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/json; charset=utf-16",
            "application/jsonp",
        ] {
            assert!(!is_json(&with(header::CONTENT_TYPE, wrong)), "{wrong}");
        }
        assert!(has_no_body(&HeaderMap::new()));
        assert!(!has_no_body(&with(header::CONTENT_LENGTH, "2")));
    }
}
