//! The list of tools, read by the proxy itself to learn what a call has to mirror in headers.

use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{Conversation, Errand, Marks, State};
use crate::relay::remote::said::Said;

/// Pages that are read at most.
const PAGES: usize = 20;

impl Conversation {
    /// Looks at the list of tools for what of `call` is to be mirrored. Returns whether that is
    /// news.
    pub(super) async fn learn(&self, call: &Said) -> bool {
        let mut news = false;
        let mut cursor = None;
        for _ in 0..PAGES {
            let Some(question) = list_like(call, cursor.as_deref()) else { return news };
            let marks = Marks::of(&question.asked);
            let mut errand = Errand::unseen(&question, &marks).own();
            if self.exchange(&mut errand, State::default()).await.is_err() {
                return news;
            }
            let answers = errand.kept.take().unwrap_or_default();
            news |= answers.iter().any(|text| self.tools.learn(text));
            cursor = answers.iter().find_map(|text| next_page(text));
            if cursor.is_none() {
                break;
            }
        }
        news
    }
}

/// A request for the list of tools by the same rights as `call`.
fn list_like(call: &Said, cursor: Option<&str>) -> Option<Said> {
    #[derive(Deserialize)]
    struct Call<'a> {
        #[serde(borrow)]
        params: Params<'a>,
    }
    #[derive(Deserialize)]
    struct Params<'a> {
        #[serde(borrow, rename = "_meta")]
        meta: &'a RawValue,
    }
    let text = call.text();
    let Call { params } = serde_json::from_slice(&text).ok()?;
    let meta = params.meta.get();
    let cursor = cursor.map(|cursor| format!(r#","cursor":{}"#, json!(cursor)));
    let cursor = cursor.unwrap_or_default();
    let text = format!(
        r#"{{"jsonrpc":"2.0","id":"mcpulse-proxy","method":"tools/list","params":{{"_meta":{meta}{cursor}}}}}"#
    );
    Said::read(text.into()).ok().flatten()
}

/// Where the list goes on.
fn next_page(answer: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Answer {
        result: Page,
    }
    #[derive(Deserialize)]
    struct Page {
        #[serde(rename = "nextCursor")]
        next: Option<String>,
    }
    serde_json::from_slice(answer).ok().and_then(|answer: Answer| answer.result.next)
}
