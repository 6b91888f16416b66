//! Secrets that are known by their shape.

/// Strings that are secrets by themselves.
pub(super) const SHAPES: &str = concat!(
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
    // Signers of web hooks, Docker, Linear, New Relic, age.
    r"|whsec_[A-Za-z0-9+/=_-]{16,}|dckr_[po]at_[A-Za-z0-9_-]{16,}|lin_(?:api|oauth)_[A-Za-z0-9]{16,}",
    r"|NRAK-[A-Z0-9]{16,}|AGE-SECRET-KEY-1[A-Za-z0-9]{16,}",
    // Discord's bots.
    r"|(?-u:\b)[MNO][A-Za-z0-9_-]{23,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,40}",
    // Telegram's bots, Slack's web hooks.
    r"|(?:(?-u:\b)|bot)[0-9]{8,10}:[A-Za-z0-9_-]{35}",
    r"|hooks\.slack\.com/[a-z]+/[A-Za-z0-9_/-]+",
);

/// The password in the authority of a URL; it may hold an `@` of its own.
pub(super) const USERINFO: &str = r"://[^/\s:@\x22']*:([^/\s\x22']+)@";

/// A user name in the authority of a URL that is too long to be one.
pub(super) const USERNAME: &str = r"://([^/\s:@\x22']{20,})@";
