//! Heads between two hops: what is end-to-end goes on unchanged and in order, what belongs to
//! one hop stays behind (RFC 9110 section 7.6.1).

use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode, Version,
    header::{CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, COOKIE, Entry, TE},
    request::Parts,
};

use super::refusal::Refusal;
use crate::{config::header::is_hop_by_hop, traffic::BodyKind};

/// What goes on to the next hop: all but what is of this hop and what `dropped` names. A head
/// of which nothing stays behind, as most are, is the same one, not a copy.
pub(super) fn end_to_end(headers: HeaderMap, dropped: impl Fn(&HeaderName) -> bool) -> HeaderMap {
    let named = named_by_connection(&headers);
    let stays = |name: &HeaderName| is_hop_by_hop(name) || named.contains(name) || dropped(name);
    if !headers.keys().any(stays) {
        return headers;
    }
    // Taking names out of a map would change the order of the others.
    let mut onwards = HeaderMap::with_capacity(headers.len());
    let mut current = None;
    for (name, value) in headers {
        if let Some(name) = name {
            current = (!stays(&name)).then_some(name);
        }
        if let Some(name) = &current {
            onwards.append(name.clone(), value);
        }
    }
    onwards
}

/// What `Connection` declares to be of this hop, besides what always is.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|name| !name.eq_ignore_ascii_case("keep-alive"))
        .filter(|name| !name.eq_ignore_ascii_case("close"))
        .filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok())
        .collect()
}

/// Whether a head keeps to its bound. Over HTTP/1 the library measures it, and says so.
pub(in crate::relay) fn admit(parts: &Parts, max_header: u64) -> Result<(), Refusal> {
    if parts.version == Version::HTTP_2 && size(&parts.headers) > max_header {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Err(Refusal::new(status, "head_too_large", "the head is too large"));
    }
    Ok(())
}

/// How HTTP/2 measures a head (RFC 9113, 6.5.2), in bytes.
fn size(headers: &HeaderMap) -> u64 {
    let sizes = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32);
    sizes.sum::<usize>() as u64
}

/// Whether the sender takes trailers (`TE: trailers`).
pub(super) fn takes_trailers(headers: &HeaderMap) -> bool {
    headers
        .get_all(TE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.split(',').any(|coding| coding.trim().eq_ignore_ascii_case("trailers")))
}

/// Joins the cookie crumbs of HTTP/2 into the one header of HTTP/1.1 (RFC 9113, 8.2.3).
pub(super) fn join_cookies(headers: &mut HeaderMap) {
    let Entry::Occupied(mut cookies) = headers.entry(COOKIE) else { return };
    if cookies.iter().nth(1).is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = cookies.iter().map(HeaderValue::as_bytes).collect();
    let mut joined = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]));
    if let Ok(joined) = &mut joined {
        joined.set_sensitive(true);
        cookies.insert(joined.clone());
    }
}

/// What the headers of a body promise about it.
pub(in crate::relay) fn body_kind(headers: &HeaderMap) -> BodyKind {
    let encoded = headers
        .get(CONTENT_ENCODING)
        .is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"));
    let Some(content) = headers.get(CONTENT_TYPE) else { return BodyKind::Opaque };
    let media = content.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    let media = media.trim_ascii();
    if encoded {
        BodyKind::Opaque
    } else if media.eq_ignore_ascii_case(b"application/json") {
        BodyKind::Json
    } else if media.eq_ignore_ascii_case(b"text/event-stream") {
        BodyKind::EventStream
    } else {
        BodyKind::Opaque
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    fn lines(headers: &HeaderMap) -> Vec<(&str, &str)> {
        headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect()
    }

    #[test]
    fn only_the_headers_of_the_hop_stay_behind() {
        let onwards = end_to_end(
            headers(&[
                ("connection", "keep-alive, X-Hop"),
                ("mcp-param-region", "eu"),
                ("keep-alive", "timeout=5"),
                ("x-hop", "1"),
                ("transfer-encoding", "chunked"),
                ("set-cookie", "a=1"),
                ("upgrade", "h2c"),
                ("set-cookie", "b=2"),
                ("proxy-connection", "keep-alive"),
                ("te", "trailers"),
                ("origin", "http://localhost"),
                ("last-event-id", "7"),
            ]),
            |name| name == http::header::ORIGIN,
        );
        assert_eq!(
            lines(&onwards),
            [
                ("mcp-param-region", "eu"),
                ("set-cookie", "a=1"),
                ("set-cookie", "b=2"),
                ("last-event-id", "7"),
            ]
        );
    }

    #[test]
    fn cookie_crumbs_are_joined_and_one_cookie_is_left_alone() {
        let mut crumbs = headers(&[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")]);
        join_cookies(&mut crumbs);
        assert_eq!(crumbs.get_all(COOKIE).iter().count(), 1);
        assert_eq!(crumbs[COOKIE], "a=1; b=2");
        let mut one = headers(&[("cookie", "a=1")]);
        join_cookies(&mut one);
        assert_eq!(lines(&one), [("cookie", "a=1")]);
    }

    #[test]
    fn the_body_kind_follows_type_and_coding() {
        let kind = |lines| body_kind(&headers(lines));
        assert_eq!(kind(&[("content-type", "application/json")]), BodyKind::Json);
        assert_eq!(
            kind(&[("content-type", "Text/Event-Stream ; charset=utf-8")]),
            BodyKind::EventStream
        );
        assert_eq!(
            kind(&[("content-type", "application/json"), ("content-encoding", "gzip")]),
            BodyKind::Opaque
        );
        assert_eq!(
            kind(&[("content-type", "application/json"), ("content-encoding", "identity")]),
            BodyKind::Json
        );
        assert_eq!(kind(&[("content-type", "text/html")]), BodyKind::Opaque);
        assert_eq!(kind(&[]), BodyKind::Opaque);
    }

    #[test]
    fn trailers_are_taken_when_the_sender_says_so() {
        assert!(takes_trailers(&headers(&[("te", "gzip, Trailers")])));
        assert!(!takes_trailers(&headers(&[("te", "gzip")])));
        assert!(!takes_trailers(&headers(&[])));
    }
}
