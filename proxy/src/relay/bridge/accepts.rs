//! Which kinds of answers a client takes, and what its body is.

use http::{
    HeaderMap,
    header::{ACCEPT, CONTENT_TYPE},
};

/// What `Accept` allows. A client that says nothing takes anything (RFC 9110, 12.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Accepts {
    pub(super) json: bool,
    pub(super) events: bool,
}

impl Accepts {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(ACCEPT).iter().peekable();
        if values.peek().is_none() {
            return Self { json: true, events: true };
        }
        let mut accepts = Self { json: false, events: false };
        for range in values.filter_map(|it| it.to_str().ok()).flat_map(|it| it.split(',')) {
            let media = range.split(';').next().unwrap_or_default().trim();
            let is = |name: &str| media.eq_ignore_ascii_case(name);
            accepts.json |= is("*/*") || is("application/*") || is("application/json");
            accepts.events |= is("*/*") || is("text/*") || is("text/event-stream");
        }
        accepts
    }
}

/// Whether the body is said to be JSON. Anything else a page of any origin could send.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let media = headers.get(CONTENT_TYPE).and_then(|it| it.to_str().ok()).unwrap_or_default();
    let media = media.split(';').next().unwrap_or_default().trim();
    media.eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn ranges_are_read_as_clients_write_them() {
        for (accept, json, events) in [
            (&[][..], true, true),
            (&["*/*"][..], true, true),
            (&["application/json, text/event-stream"], true, true),
            (&["application/json", "Text/Event-Stream;q=0.9"], true, true),
            (&["application/json"], true, false),
            (&["text/event-stream"], false, true),
            (&["text/html, image/*"], false, false),
        ] {
            let mut headers = HeaderMap::new();
            for value in accept {
                headers.append(ACCEPT, HeaderValue::from_static(value));
            }
            assert_eq!(Accepts::of(&headers), Accepts { json, events }, "{accept:?}");
        }
    }

    #[test]
    fn only_json_is_json() {
        for (content, is) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("text/plain", false),
            ("application/json-seq", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content));
            assert_eq!(is_json(&headers), is, "{content}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
