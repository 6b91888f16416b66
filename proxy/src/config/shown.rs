//! What may be shown of what somebody wrote. Whatever stands in a wrong place may be a secret, so
//! messages repeat no value: they name the setting, the line and what was probably meant. What
//! they do repeat, names and paths, comes from here.

use std::path::Path;

use super::nearest::is_slip;

/// What stands for what is not shown.
pub(crate) const VEIL: &str = "***";

/// A key, when it is spelled as keys are.
pub(crate) fn key(text: &str) -> Option<&str> {
    let fits = |c: char| c.is_ascii_alphabetic() || matches!(c, '-' | '_');
    (text.len() <= 32 && text.chars().all(fits) && !text.is_empty()).then_some(text)
}

/// A name that is one of those `known` but for a slip, in which no secret has room.
pub(crate) fn misspelt<'a>(
    text: &'a str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    known.into_iter().any(|known| is_slip(text, known)).then_some(text)
}

/// A path, when something is there or it is spelled as paths are.
pub(crate) fn path(path: &Path) -> String {
    let text = path.display().to_string();
    let begins = ["/", "./", "../", "~", "\\"].iter().any(|begin| text.starts_with(begin));
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    let ends = (1..=5).contains(&ending.len()) && ending.bytes().all(|b| b.is_ascii_lowercase());
    let is_plain = !text.contains(['@', '=', '?', '#', '\n']) && !text.contains("://");
    let shown = is_plain && (begins || ends || path.is_absolute());
    if shown || path.exists() { text } else { VEIL.to_owned() }
}

/// A URL without what often is a key: user information, query and fragment.
pub fn url(url: &str) -> String {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let (bare, rest) = url.split_at(end);
    let rest = rest.chars().next().map(|mark| format!("{mark}{VEIL}")).unwrap_or_default();
    let Some((scheme, behind)) = bare.split_once("://") else { return format!("{bare}{rest}") };
    let authority = behind.split('/').next().unwrap_or_default();
    match authority.rfind('@') {
        Some(at) => format!("{scheme}://{VEIL}{}{rest}", &behind[at..]),
        None => format!("{bare}{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_shown_without_what_may_be_a_key() {
        for (given, shown) in [
            ("https://a/mcp", "https://a/mcp"),
            ("https://hunter2@a/mcp", "https://***@a/mcp"),
            ("https://u:hunter2@hunter2@a:1/b@c", "https://***@a:1/b@c"),
            ("https://a/mcp?k=hunter2#hunter2", "https://a/mcp?***"),
            ("https://a/mcp#hunter2?k", "https://a/mcp#***"),
            ("/message?id=hunter2", "/message?***"),
        ] {
            assert_eq!(url(given), shown);
        }
    }

    #[test]
    fn names_and_paths_are_shown_where_they_are_some() {
        assert_eq!(key("serverId"), Some("serverId"));
        for text in ["", "hunter2", "bearerToken:hunter", "a b"] {
            assert_eq!(key(text), None);
        }
        assert_eq!(misspelt("bearer-tokn", ["bearer-token"]), Some("bearer-tokn"));
        for text in ["bearer-tokenhunter", "bearer-toknhunter", "hunter"] {
            assert_eq!(misspelt(text, ["bearer-token", "cwd"]), None);
        }
        for text in ["/no/such/file", "no-such.pem", "../a", "Cargo.toml", "src"] {
            assert_eq!(path(Path::new(text)), text);
        }
        for text in ["hunter2", "https://u:hunter2@h.example", "eyJh.hunter.2hunter2", "/a?k=x"] {
            assert_eq!(path(Path::new(text)), VEIL);
        }
    }
}
