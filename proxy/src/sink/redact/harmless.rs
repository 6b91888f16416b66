//! What stands under the name of a secret and is none: words, types, expressions. People read
//! errors, which speak of tokens and passwords more often than they give one away.

/// Words that tell of a secret how it is, or of what type.
const WORDS: [&str; 48] = [
    "absent",
    "any",
    "bool",
    "boolean",
    "changed",
    "char",
    "correct",
    "denied",
    "disabled",
    "empty",
    "enabled",
    "expected",
    "expired",
    "failed",
    "failure",
    "false",
    "incorrect",
    "int",
    "invalid",
    "malformed",
    "mandatory",
    "mismatch",
    "missing",
    "nil",
    "no",
    "none",
    "not",
    "null",
    "number",
    "ok",
    "option",
    "optional",
    "provided",
    "rejected",
    "required",
    "revoked",
    "set",
    "str",
    "string",
    "true",
    "undefined",
    "unknown",
    "unset",
    "unsupported",
    "varchar",
    "void",
    "wrong",
    "yes",
];

/// Names that mean other things as often.
const WEAK: [&str; 10] = [
    "auth",
    "authentication",
    "bearer",
    "jwt",
    "otp",
    "pass",
    "pin",
    "signature",
    "token",
    "tokens",
];

/// Whence programs read secrets.
const SOURCES: [&str; 5] =
    ["process.env.", "import.meta.env.", "os.environ", "os.getenv", "System.getenv"];

/// What may stand between words.
const BETWEEN: &str = " \t|<>&?;,.:[](){}!*";

/// How long a value may be that is looked at.
const LONGEST: usize = 80;

/// How long a word of a language, or an expression, may be.
const WORD: usize = 20;

/// Whether a value of this name is no secret; `spoken` where a sentence could stand.
pub(super) fn is_harmless(name: &str, value: &str, spoken: bool) -> bool {
    if value.len() > LONGEST || value.contains(['\n', '"', '\'', '`', '\\']) {
        return false;
    }
    let is_word = |word: &str| WORDS.iter().any(|known| known.eq_ignore_ascii_case(word));
    let mut words = value.split(|c| BETWEEN.contains(c)).filter(|word| !word.is_empty()).peekable();
    if words.peek().is_some() && words.all(is_word) {
        return true;
    }
    let is_variable = |c: char| c.is_ascii_uppercase() || matches!(c, '_' | '[' | ']' | '(' | ')');
    let source = value.trim_end_matches([';', ',']);
    if SOURCES
        .iter()
        .any(|it| source.strip_prefix(it).is_some_and(|it| it.chars().all(is_variable)))
    {
        return true;
    }
    let is_weak = WEAK.iter().any(|weak| weak.eq_ignore_ascii_case(name));
    is_weak && (is_small(value) || spoken && value.split_whitespace().all(is_spoken))
}

/// Whether this may be a part of a sentence or of a program.
fn is_spoken(word: &str) -> bool {
    let is_expression = |c: char| c.is_ascii_alphabetic() || "_.()[]{}<>&*,$-+/;|!?".contains(c);
    let is_bare = |c: char| c.is_alphabetic();
    let plain = word.trim_matches(['.', ',', ';', '!', '?', ')', '(']);
    is_prose(plain, WORD)
        || is_small(plain)
        || word.len() <= WORD
            && word.chars().all(is_expression)
            && (word.contains(['.', '(']) || !word.contains(is_bare))
}

/// Whether this is a word of a language rather than a secret.
pub(super) fn is_prose(word: &str, most: usize) -> bool {
    let rest = word.strip_prefix(|c: char| c.is_alphabetic()).unwrap_or(word);
    word.len() <= most && rest.chars().all(|c| c.is_lowercase() || "'’-".contains(c))
}

/// Whether this is a number too short for a code.
fn is_small(word: &str) -> bool {
    matches!(word.len(), 1 | 2) && word.bytes().all(|byte| byte.is_ascii_digit())
}

/// What follows `Bearer` where the scheme is spoken of.
const AFTER_BEARER: [&str; 7] = [
    "authentication",
    "authorization",
    "challenge",
    "credential",
    "credentials",
    "required",
    "realm=",
];

/// Whether this behind `Bearer` is no token.
pub(super) fn is_after_bearer(word: &str) -> bool {
    let plain = word.trim_end_matches(['.', ':', '!', '?', ')']);
    is_prose(plain, 7) || AFTER_BEARER.iter().any(|known| known.eq_ignore_ascii_case(plain))
}
