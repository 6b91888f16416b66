//! Secrets that are known by their shape.

/// Strings that are secrets by themselves.
pub(super) const SHAPES: &str = concat!(
    // Private keys, also those that were cut off.
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----",
    r"(?s:.*?)(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\z)",
    // JSON web tokens, signed or encrypted.
    r"|eyJ[A-Za-z0-9_-]{6,}(?:\.[A-Za-z0-9_-]*){1,4}",
    // OpenAI, Anthropic; Stripe and those that spell theirs alike.
    r"|(?-u:\b|_)sk-(?:[a-z_-]{0,3}[A-Z0-9][A-Za-z0-9_-]{7,}|[a-z_-]{4,}[A-Z0-9][A-Za-z0-9_-]{3,}",
    r"|[a-z_-]{7,}[A-Z0-9][A-Za-z0-9_-]*|[a-z]{20}[A-Za-z0-9_-]*)",
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
    // Groq, xAI, Perplexity, NVIDIA, Replicate, Bedrock.
    r"|(?-u:\b|_)(?:gsk_|xai-|pplx-|r8_)[A-Za-z0-9]{20,}|nvapi-[A-Za-z0-9_-]{20,}",
    r"|(?-u:\b|_)ABSK[A-Za-z0-9+/=]{40,}",
    // Atlassian, Grafana, Databricks, Notion, Figma, Sentry, Tailscale, Postman, Contentful.
    r"|ATATT3x[A-Za-z0-9_=-]{20,}|glsa_[A-Za-z0-9_]{20,}|(?-u:\b|_)dapi[a-f0-9]{32}(?:-[0-9])?",
    r"|(?-u:\b|_)ntn_[A-Za-z0-9]{20,}|(?-u:\b|_)secret_[A-Za-z0-9]{40,}|figd_[A-Za-z0-9_-]{20,}",
    r"|sntrys_[A-Za-z0-9+/=_-]{20,}|tskey-[A-Za-z0-9-]{16,}|PMAK-[A-Za-z0-9-]{20,}|CFPAT-[A-Za-z0-9_-]{20,}",
    // Mailgun, Facebook, 1Password.
    r"|(?-u:\b|_)key-[a-f0-9]{32}|(?-u:\b|_)EAA[A-Za-z0-9]{40,}|ops_eyJ[A-Za-z0-9_+/=.-]{20,}",
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

/// Secrets that a sentence, a statement or an encoding introduces; what stands in no quotes may
/// be said of one.
pub(super) const PHRASES: &str = concat!(
    r"(?i:(?:api|access|secret|private|account|license|service|encryption|signing|master) key",
    r"(?: (?:provided|given|used|received))?[ \t]*[:=][ \t]*)",
    r"(?:[\x22']([^\x22'\n]+)|(?<spoken>[^\s\x22'\\,;&<>]+))",
    r"|(?i:(?:password|passphrase|passcode) for [^\s:]+[ \t]*:[ \t]*",
    r"|(?:password|passwd|pwd|secret|token|api[_-]?key)(?:%3D|[ \t]*->[ \t]*|\x{ff1a}[ \t]*)",
    r"|(?:(?:\A|\n)[ \t]*|machine\s+[^\s]+\s+|default\s+)login\s+[^\s]+\s+password\s+)",
    r"(?:[\x22']([^\x22'\n]+)|(?<bare>[^\s\x22'\\,;&<>]+))",
    r"|(?i:\b(?:identified by|password)[ \t]+)'([^'\n]+)'",
);
