//! The names under which secrets stand.

/// Whole names of secrets, in lower case and without anything but letters and digits.
const NAMES: [&str; 21] = [
    "accesstokens",
    "apikeys",
    "apitokens",
    "assertion",
    "auth",
    "authentication",
    "bearer",
    "credential",
    "keypass",
    "mnemonic",
    "pincode",
    "proxyauthorization",
    "secrets",
    "sessionid",
    "signature",
    "storepass",
    "tokens",
    "userpass",
    "userpwd",
    "xauth",
    "xsignature",
];

/// Names of secrets, also as the last of several words: `DB_PASS`, `userCreds`.
const WORDS: [&str; 15] = [
    "cookie", "cookies", "creds", "csrf", "cvc", "cvv", "dsn", "jwt", "otp", "pass", "pat", "pin",
    "pw", "pwd", "totp",
];

/// Ends of names of secrets, such as `github_token` or `dbPassword`, spelled likewise.
const ENDS: [&str; 42] = [
    "accesskey",
    "accesskeyid",
    "accountkey",
    "apikey",
    "authcode",
    "authheader",
    "authorization",
    "authorizationcode",
    "basicauth",
    "cardnumber",
    "clientassertion",
    "codeverifier",
    "connectionstring",
    "credentials",
    "deploykey",
    "enckey",
    "encryptionkey",
    "httpauth",
    "licensekey",
    "masterkey",
    "mfacode",
    "otpcode",
    "passcode",
    "passphrase",
    "passwd",
    "password",
    "passwords",
    "privatekey",
    "recoveryphrase",
    "secret",
    "secretkey",
    "securitycode",
    "seedphrase",
    "servicekey",
    "setcookie",
    "signingkey",
    "sshkey",
    "storagekey",
    "subscriptionkey",
    "token",
    "totpseed",
    "verificationcode",
];

/// Ends of names that are none: where a list goes on, and whose progress is told.
const HARMLESS: [&str; 7] = [
    "continuationtoken",
    "continuetoken",
    "cursortoken",
    "nexttoken",
    "pagetoken",
    "progresstoken",
    "synctoken",
];

/// What may follow the name of a secret.
const TAILS: [&str; 12] = [
    "confirm",
    "confirmation",
    "data",
    "hash",
    "header",
    "new",
    "old",
    "pem",
    "plain",
    "string",
    "text",
    "value",
];

/// How a secret may be encoded, which the name tells last.
const ENCODINGS: [&str; 2] = ["base64", "b64"];

/// Parameters of a query that are secrets only there.
const QUERY: [&str; 2] = ["key", "sig"];

/// Members that name what a member of [`VALUES`] beside them is.
const LABELS: [&str; 12] = [
    "field",
    "header",
    "k",
    "key",
    "label",
    "name",
    "option",
    "param",
    "parameter",
    "property",
    "setting",
    "variable",
];

/// Members that hold what a member of [`LABELS`] names.
const VALUES: [&str; 5] = ["string", "v", "val", "value", "values"];

/// What every text matches in which [`super::assigned`] can find anything: a part of each name,
/// flags, escapes that may hide either.
pub(super) const PARTS: &str = concat!(
    r"(?i:pass|pwd|secret|token|key|auth|cred|cookie|signature|session[^a-z]?id|bearer|connection[^a-z]?string",
    r"|mfa|verification|code[^a-z]?(?:confirm|hash|header|value|data|new|old|pem|plain|string|text|b64|base64)|otp[^a-z]?(?:code|seed)|pin[^a-z]?code",
    r"|assertion|verifier|phrase|mnemonic|security[^a-z]?code|card[^a-z]?number|identified by",
    r"|(?:cv[cv]|csrf|dsn|jwt|otp|pat|pin|pw)(?:[^a-z]|confirm|hash|header|value|data|new|old|pem|plain|string|text|b64|base64|$)",
    r"|[?&;#]sig=)",
    r"|(?:^|[\s\x22'\[(,`])-(?:[uUpaw]|-user|-proxy-user)",
    r"|\\(?:[ux]|[nrt](?:[AMNOrs]|[0-9]))",
);

/// Pairs of letters in which names of secrets end: bit `b` of `a` for `ab`. Most names end in
/// another, which spares them the tables.
const LAST: [u32; 26] = {
    let mut last = [0; 26];
    let mut tables: &[&[&str]] = &[&NAMES, &WORDS, &ENDS, &TAILS];
    while let [table, others @ ..] = tables {
        let mut names = *table;
        while let [name, rest @ ..] = names {
            if let [.., first, second] = name.as_bytes() {
                last[(*first - b'a') as usize] |= 1 << (*second - b'a');
            }
            names = rest;
        }
        tables = others;
    }
    last
};

/// Whether whatever stands under this name is a secret.
pub(super) fn is_secret(name: &str) -> bool {
    let name = unencoded(name);
    if name.is_ascii() {
        let mut letters = name.bytes().rev().filter(u8::is_ascii_alphanumeric);
        let second = letters.find(|byte| !byte.is_ascii_digit());
        let letter = |byte: Option<u8>| {
            byte.filter(u8::is_ascii_alphabetic).map(|byte| byte.to_ascii_lowercase() - b'a')
        };
        let (Some(first), Some(second)) = (letter(letters.next()), letter(second)) else {
            return false;
        };
        if LAST[usize::from(first)] & (1 << second) == 0 {
            return false;
        }
    }
    let plain = plain(name);
    // `password2`, `apiKeyValue`, `token_hash`
    let plain = plain.trim_end_matches(|c: char| c.is_ascii_digit());
    let short = TAILS.iter().find_map(|tail| plain.strip_suffix(tail));
    [Some(plain), short].into_iter().flatten().any(|plain| is_plain_secret(plain, name))
}

/// The name without the encoding of what it names.
fn unencoded(name: &str) -> &str {
    let before = |encoding: &&str| {
        let (rest, end) = name.split_at_checked(name.len().checked_sub(encoding.len())?)?;
        end.eq_ignore_ascii_case(encoding).then_some(rest)
    };
    ENCODINGS.iter().find_map(before).unwrap_or(name)
}

fn is_plain_secret(plain: &str, name: &str) -> bool {
    let ends = |ends: &[&str]| ends.iter().any(|end| plain.ends_with(end));
    NAMES.contains(&plain)
        || ends(&ENDS) && !ends(&HARMLESS)
        || WORDS
            .iter()
            .any(|word| plain == *word || plain.ends_with(word) && ends_with_word(name, word))
}

pub(super) fn is_label(name: &str) -> bool {
    is_one_of(name, &LABELS)
}

pub(super) fn is_value(name: &str) -> bool {
    is_one_of(name, &VALUES)
}

/// Whether a parameter of a query is a secret by a name that says nothing elsewhere.
pub(super) fn is_query(name: &str) -> bool {
    is_one_of(name, &QUERY)
}

/// Whether all that follows on the line is the secret.
pub(super) fn is_header(name: &str) -> bool {
    let plain = plain(name);
    ["authorization", "authheader", "authorizationheader", "cookie", "cookies"]
        .iter()
        .any(|end| plain.ends_with(end))
}

fn is_one_of(name: &str, names: &[&str]) -> bool {
    names.iter().any(|one| one.eq_ignore_ascii_case(name))
}

fn plain(name: &str) -> String {
    name.chars().flat_map(char::to_lowercase).filter(|c| c.is_alphanumeric()).collect()
}

/// Whether the last of the words is this: behind anything but a letter, or with a capital.
fn ends_with_word(name: &str, word: &str) -> bool {
    let name = name.trim_end_matches(|c: char| !c.is_alphabetic());
    let Some(start) = name.len().checked_sub(word.len()) else { return false };
    let (Some(before), Some(end)) = (name.get(..start), name.get(start..)) else { return false };
    let humps = end.starts_with(char::is_uppercase) && before.ends_with(char::is_lowercase);
    end.eq_ignore_ascii_case(word) && (humps || !before.ends_with(char::is_alphanumeric))
}
