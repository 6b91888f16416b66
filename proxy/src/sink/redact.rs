//! Takes secrets out of what is reported: by the name under which a value stands, and by its
//! shape, in every string at every depth.
//!
//! A superset of what the MCPulse SDKs do. In doubt it redacts: a report that says too little
//! can be lived with.

use std::{borrow::Cow, sync::OnceLock};

use regex::{Regex, RegexBuilder};

use crate::record::ERROR_TEXT_LIMIT;

mod assigned;

/// What stands in the place of a secret.
pub(crate) const REDACTED: &str = "[REDACTED]";

/// Names of secrets, in lower case and without anything but letters and digits.
const NAMES: [&str; 27] = [
    "apikeys",
    "accesstokens",
    "apitokens",
    "auth",
    "authheader",
    "authorization",
    "authentication",
    "bearer",
    "connectionstring",
    "cookie",
    "cookies",
    "credential",
    "credentials",
    "jwt",
    "passphrase",
    "pass",
    "passwd",
    "pat",
    "proxyauthorization",
    "pwd",
    "secrets",
    "sessionid",
    "setcookie",
    "signature",
    "tokens",
    "userpass",
    "xauth",
];

/// Ends of names of secrets, such as `github_token` or `dbPassword`, spelled likewise.
const ENDS: [&str; 15] = [
    "accesskey",
    "accesskeyid",
    "accountkey",
    "apikey",
    "credentials",
    "encryptionkey",
    "passcode",
    "passphrase",
    "password",
    "passwords",
    "privatekey",
    "secret",
    "secretkey",
    "signingkey",
    "token",
];

/// What may follow the name of a secret.
const TAILS: [&str; 2] = ["hash", "value"];

/// Strings that are secrets by themselves.
const SHAPES: &str = concat!(
    // Private keys, also those that were cut off.
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----",
    r"(?s:.*?)(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\z)",
    // JSON web tokens, signed or encrypted.
    r"|eyJ[A-Za-z0-9_-]{6,}(?:\.[A-Za-z0-9_-]*){1,4}",
    // OpenAI, Anthropic; Stripe and those that spell theirs alike.
    r"|(?-u:\b|_)sk-[A-Za-z0-9_-]{8,}",
    r"|(?-u:\b|_)[rs]k_[a-z]+_[A-Za-z0-9]{5,}",
    // GitHub, GitLab, Slack.
    r"|gh[pousr]_[A-Za-z0-9]{16,}|github_pat_[A-Za-z0-9_]{16,}|glpat-[A-Za-z0-9_-]{16,}",
    r"|xox[a-z]-[A-Za-z0-9-]{8,}|xapp-[A-Za-z0-9-]{8,}",
    // AWS, Google.
    r"|(?-u:\b|_)(?:AKIA|ASIA)[A-Z0-9]{16}",
    r"|AIza[A-Za-z0-9_-]{30,}|ya29\.[A-Za-z0-9_-]{16,}",
    r"|GOCSPX-[A-Za-z0-9_-]{16,}",
    // npm, PyPI, Hugging Face.
    r"|npm_[A-Za-z0-9]{30,}|pypi-[A-Za-z0-9_-]{16,}|hf_[A-Za-z0-9]{20,}",
    // SendGrid, Vault, DigitalOcean, Shopify, Square.
    r"|SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}|hv[sb]\.[A-Za-z0-9_-]{16,}",
    r"|do[opr]_v1_[a-f0-9]{32,}|shp(?:at|ca|pa|ss)_[A-Fa-f0-9]{16,}|sq0[a-z]{3}-[A-Za-z0-9_-]{16,}",
    // Telegram's bots, Slack's web hooks.
    r"|(?:(?-u:\b)|bot)[0-9]{8,10}:[A-Za-z0-9_-]{35}",
    r"|hooks\.slack\.com/[a-z]+/[A-Za-z0-9_/-]+",
);

/// What introduces a secret up to the end of the line: it may hold anything.
const COOKIES: &str = r"((?i-u:cookie)\\*[\x22']?\s*[:=]\s*)[^\r\n]+";

/// The password in the authority of a URL; it may hold an `@` of its own.
const USERINFO: &str = r"(://[^/\s:@\x22']*:)[^/\s\x22']+(@)";

/// A user name in the authority of a URL that is too long to be one.
const USERNAME: &str = r"(://)[^/\s:@\x22']{20,}(@)";

/// States that a search may remember before it starts over, in bytes; the default is 2 MiB.
const SEARCH_CACHE: usize = 256 << 10;

/// Redacts keys and texts.
#[derive(Debug)]
pub(crate) struct Redactor {
    rules: [Rule; 4],
    assigned: Rule,
}

/// A pattern, compiled when a text first needs it: that takes a millisecond and a good part of
/// a megabyte, which a start should not wait for and a proxy without calls never pays.
#[derive(Debug)]
struct Rule {
    pattern: &'static str,
    replacement: &'static str,
    /// Without this in it, no text matches.
    needs: &'static str,
    regex: OnceLock<Option<Regex>>,
}

impl Rule {
    fn new(pattern: &'static str, replacement: &'static str, needs: &'static str) -> Self {
        Self { pattern, replacement, needs, regex: OnceLock::new() }
    }

    fn regex(&self) -> Option<&Regex> {
        let build = || RegexBuilder::new(self.pattern).dfa_size_limit(SEARCH_CACHE).build();
        self.regex.get_or_init(|| build().ok()).as_ref()
    }
}

impl Redactor {
    pub(crate) fn new() -> Self {
        let rules = [
            Rule::new(USERINFO, "${1}[REDACTED]${2}", "://"),
            Rule::new(USERNAME, "${1}[REDACTED]${2}", "://"),
            Rule::new(SHAPES, REDACTED, ""),
            Rule::new(COOKIES, "${1}[REDACTED]", ""),
        ];
        Self { rules, assigned: Rule::new(assigned::INTRODUCED, "", "") }
    }

    /// The text without what looks like a secret.
    pub(crate) fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut text = Cow::Borrowed(text);
        for rule in &self.rules {
            if !text.contains(rule.needs) {
                continue;
            }
            // Never: patterns are constants. But should it happen, nothing may leak.
            let Some(regex) = rule.regex() else { return Cow::Borrowed(REDACTED) };
            if let Cow::Owned(redacted) = regex.replace_all(&text, rule.replacement) {
                text = Cow::Owned(redacted);
            }
        }
        let Some(regex) = self.assigned.regex() else { return Cow::Borrowed(REDACTED) };
        match assigned::without(&text, regex) {
            Cow::Owned(redacted) => Cow::Owned(redacted),
            Cow::Borrowed(_) => text,
        }
    }

    /// The text of an error that a call carries, likewise. One that was cut may end in half a
    /// secret, whose shape nobody knows: its last word goes.
    pub(crate) fn error_text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        // A cut between characters leaves up to three bytes less.
        if text.len() < ERROR_TEXT_LIMIT - 3 {
            return self.text(text);
        }
        text.rfind(char::is_whitespace).map_or(REDACTED.into(), |end| self.text(&text[..end]))
    }

    /// Whether whatever stands under this name is a secret.
    pub(crate) fn is_secret(name: &str) -> bool {
        let name: String =
            name.chars().flat_map(char::to_lowercase).filter(|c| c.is_alphanumeric()).collect();
        // `password2`, `apiKeyValue`, `token_hash`
        let name = name.trim_end_matches(|c: char| c.is_ascii_digit());
        let name = TAILS.iter().find_map(|tail| name.strip_suffix(tail)).unwrap_or(name);
        NAMES.contains(&name) || ENDS.iter().any(|end| name.ends_with(end))
    }

    /// Whether this JSON under such a name is none: how many there are.
    pub(crate) fn is_count(name: &str, json: &str) -> bool {
        name.to_ascii_lowercase().ends_with("tokens") && json.parse::<u64>().is_ok()
    }
}

#[cfg(test)]
mod tests;
