//! What a JSON string says, also when it is cut, not UTF-8, or not quite JSON.

use std::borrow::Cow;

use memchr::memchr;

/// The text between the quotes of a JSON string. What cannot be decoded becomes U+FFFD; an
/// escape that is cut off at the end is left out.
pub(super) fn unescape(raw: &[u8]) -> Cow<'_, str> {
    let Some(first) = memchr(b'\\', raw) else { return String::from_utf8_lossy(raw) };
    let mut text = raw[..first].to_vec();
    let mut rest = &raw[first..];
    while let [b'\\', letter, after @ ..] = rest {
        rest = after;
        match letter {
            b'n' => text.push(b'\n'),
            b't' => text.push(b'\t'),
            b'r' => text.push(b'\r'),
            b'b' => text.push(8),
            b'f' => text.push(12),
            b'u' => {
                let Some((decoded, after)) = unicode(rest) else { break };
                text.extend_from_slice(decoded.encode_utf8(&mut [0; 4]).as_bytes());
                rest = after;
            }
            other => text.push(*other),
        }
        let run = memchr(b'\\', rest).unwrap_or(rest.len());
        text.extend_from_slice(&rest[..run]);
        rest = &rest[run..];
    }
    Cow::Owned(
        String::from_utf8(text)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
    )
}

/// The character of `XXXX` or `XXXX\uXXXX`, and what follows; none if it is cut off.
fn unicode(digits: &[u8]) -> Option<(char, &[u8])> {
    let (high, rest) = unit(digits)?;
    if let Some(plain) = char::from_u32(high) {
        return Some((plain, rest));
    }
    if let Some((low, after)) = rest.strip_prefix(b"\\u").and_then(unit)
        && (0xD800..0xDC00).contains(&high)
        && (0xDC00..0xE000).contains(&low)
    {
        let pair = 0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00);
        return Some((char::from_u32(pair).unwrap_or(char::REPLACEMENT_CHARACTER), after));
    }
    Some((char::REPLACEMENT_CHARACTER, rest))
}

fn unit(digits: &[u8]) -> Option<(u32, &[u8])> {
    let (four, rest) = digits.split_at_checked(4)?;
    let value =
        four.iter().try_fold(0, |value, digit| Some(value << 4 | char::from(*digit).to_digit(16)?));
    Some((value.unwrap_or(u32::from(char::REPLACEMENT_CHARACTER)), rest))
}

/// The longest beginning of `text` that has at most `limit` bytes.
pub fn cut(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn undoes_every_escape() {
        let raw = br#"a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00z"#;
        assert_eq!(unescape(raw), "a\"\\/\u{8}\u{c}\n\r\t\u{e9}\u{1f600}z");
    }

    #[test]
    fn survives_what_is_not_json() {
        assert_eq!(unescape(br"\ud800x"), "\u{fffd}x");
        assert_eq!(unescape(br"\ud800\u0041"), "\u{fffd}A");
        assert_eq!(unescape(br"\uzzzz"), "\u{fffd}");
        assert_eq!(unescape(br"a\u00"), "a");
        assert_eq!(unescape(br"a\"), "a");
        assert_eq!(unescape(b"a\xff"), "a\u{fffd}");
    }

    #[test]
    fn cuts_between_characters() {
        assert_eq!(cut("a\u{e9}", 2), "a");
        assert_eq!(cut("a\u{e9}", 3), "a\u{e9}");
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json(text in any::<String>()) {
            let quoted = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(unescape(&quoted.as_bytes()[1..quoted.len() - 1]), text);
        }

        #[test]
        fn never_panics(raw in prop::collection::vec(prop_oneof![Just(b'\\'), Just(b'u'), any::<u8>()], 0..64)) {
            let _ = unescape(&raw);
        }
    }
}
