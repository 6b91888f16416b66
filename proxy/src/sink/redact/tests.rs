use std::sync::LazyLock;

use proptest::prelude::*;

use super::{REDACTED, Redactor};

fn redacted(text: &str) -> String {
    static REDACTOR: LazyLock<Redactor> = LazyLock::new(Redactor::new);
    REDACTOR.text(text).into_owned()
}

#[test]
fn names_of_secrets_are_known_however_they_are_spelled() {
    // The first eleven are what the SDKs redact.
    for name in [
        "password",
        "token",
        "api_key",
        "secret",
        "authorization",
        "auth",
        "apikey",
        "api-key",
        "access_token",
        "refresh_token",
        "private_key",
        "PassWord",
        "apiKey",
        "X-API-Key",
        "client_secret",
        "Set-Cookie",
        "githubToken",
        "AWS_SECRET_ACCESS_KEY",
        "to\u{212a}en",
        "tokens",
        "old_passwords",
        "password2",
        "passwordHash",
        "my_token_1",
        "token_value",
        "secret_value",
        "auth_header",
        "apiKeyValue",
        "user_pass",
        "pass",
        "passcode",
    ] {
        assert!(Redactor::is_secret(name), "{name}");
    }
    for name in [
        "max_tokens",
        "token_count",
        "passed",
        "compass",
        "author",
        "key",
        "path",
        "tokenizer",
        "secretary",
        "keyboard",
        "",
    ] {
        assert!(!Redactor::is_secret(name), "{name}");
    }
}

#[test]
fn shapes_of_secrets_are_known() {
    let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl";
    let pem = "-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc=\n-----END RSA PRIVATE KEY-----";
    for secret in [
        jwt,
        pem,
        "sk-proj-abcDEF123456_-x",
        "sk_live_abcdef123456",
        "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
        "github_pat_11ABCDEFG0123456789_abcdef",
        "xoxb-123456789012-abcdef",
        "AKIAIOSFODNN7EXAMPLE",
        "glpat-abcdefghij0123456789",
        "SG.abcdefghij0123456789AB.abcdefghij0123456789abcdefghij0123456789ABC",
        "hvs.abcdefghij0123456789abcd",
        concat!("dop_v1_", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"),
        concat!("shpat_", "0123456789abcdef0123456789abcdef"),
        "GOCSPX-abcdefghij0123456789abcdefgh",
        "sq0atp-abcdefghij0123456789ab",
        "123456789:abcdefghij0123456789ABCDEFGHIJ_-abc",
        "hooks.slack.com/services/T00000000/B00000000/abcdefghij0123456789abcd",
    ] {
        assert_eq!(redacted(secret), REDACTED);
        assert_eq!(redacted(&format!("it said '{secret}'")), format!("it said '{REDACTED}'"));
    }
    // Cut off, a key has no end.
    assert_eq!(redacted("-----BEGIN PRIVATE KEY-----\nMIIE cut off"), REDACTED);
}

#[test]
fn what_surrounds_a_secret_stays() {
    for (text, expected) in [
        ("Authorization: Bearer abc.def-123", "Authorization: Bearer [REDACTED]"),
        ("Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic [REDACTED]"),
        ("bearer secret123 refused", "bearer [REDACTED] refused"),
        ("postgres://bob:p@ss:w/rd", "postgres://bob:[REDACTED]@ss:w/rd"),
        ("postgres://bob:p@ss@db:5432/x", "postgres://bob:[REDACTED]@db:5432/x"),
        ("https://abcdefghijklmnopqrstuvwxyz@h/", "https://[REDACTED]@h/"),
        ("https://h/p?token=abc&page=2", "https://h/p?token=[REDACTED]&page=2"),
        ("https://h/p?page=2&api_key=abc#top", "https://h/p?page=2&api_key=[REDACTED]"),
        ("https://h/p?key=abc", "https://h/p?key=[REDACTED]"),
        (r#"{"password":"hunter2","n":1}"#, r#"{"password":"[REDACTED]","n":1}"#),
        (r#"{\"client_secret\": \"x\"}"#, r#"{\"client_secret\": \"[REDACTED]\"}"#),
        ("DB_PASSWORD=hunter2 make", "DB_PASSWORD=[REDACTED] make"),
        ("Cookie: a=b; c=d\nHost: h", "Cookie: [REDACTED]\nHost: h"),
    ] {
        assert_eq!(redacted(text), expected);
    }
}

#[test]
fn a_secret_ends_where_its_quote_bracket_or_word_ends() {
    for (text, expected) in [
        (
            r#"{"password": "correct horse hunter2", "n": 1}"#,
            r#"{"password": "[REDACTED]", "n": 1}"#,
        ),
        (r#"{"password": "a,SECRET"}"#, r#"{"password": "[REDACTED]"}"#),
        (r#"{"password": "a\"SECRET"}"#, r#"{"password": "[REDACTED]"}"#),
        (
            r#"{\"password\": \"a \\\"SECRET\", \"n\": 1}"#,
            r#"{\"password\": \"[REDACTED]\", \"n\": 1}"#,
        ),
        (r#"{"password": ["SECRET", "]"], "n": 1}"#, r#"{"password": [REDACTED], "n": 1}"#),
        (r#"{"password": {"v": ["SECRET"]}, "n": 1}"#, r#"{"password": [REDACTED], "n": 1}"#),
        (r#"{"password": {"v": "SEC"#, r#"{"password": [REDACTED]"#),
        (r#"password="two words" x"#, r#"password="[REDACTED]" x"#),
        ("password='cut off in the", "password='[REDACTED]"),
        ("pwd=a;b x", "pwd=[REDACTED] x"),
        ("password=a&b x", "password=[REDACTED] x"),
        (r#"password=a&token="b SECRET" x"#, r#"password=[REDACTED]" x"#),
        ("Authorization: ApiKey SECRET x", "Authorization: ApiKey [REDACTED] x"),
        ("Authorization: Odd SECRET\nHost: h", "Authorization: [REDACTED]\nHost: h"),
        ("passwordHash: SECRET x", "passwordHash: [REDACTED] x"),
        ("user_pass=SECRET x", "user_pass=[REDACTED] x"),
        ("tokens=SECRET", "tokens=[REDACTED]"),
        ("AccountName=a;AccountKey=SECRET==;E=x", "AccountName=a;AccountKey=[REDACTED]"),
        ("login --password SECRET --verbose", "login --password [REDACTED] --verbose"),
        ("curl -u user:SECRET https://h/", "curl -u user:[REDACTED] https://h/"),
    ] {
        assert_eq!(redacted(text), expected);
    }
}

#[test]
fn ordinary_text_passes_unchanged() {
    for text in [
        "",
        "file not found: /tmp/risk-assessment-2026.txt",
        "https://user@example.com/a?page=2",
        "https://example.com:8080/path",
        "max_tokens must be below 4096",
        "tokens: 512, max_tokens=4096",
        r#"{"tokens":512,"token_count":7}"#,
        "passed: 12, bypass: yes",
        "run --password --verbose",
        "get -u https://h/",
        "task-force-for-something-long",
        "the bearer",
        "Grüße aus Köln",
    ] {
        assert_eq!(redacted(text), text);
    }
}

#[test]
fn a_flood_of_names_costs_no_more_than_its_length() {
    for flood in ["token=", "token=\"\"", "?token=&", "token='", "tokens=1,", "--token ", "token=["]
    {
        // Minutes, were each name to look at all that follows.
        redacted(&flood.repeat(30_000));
    }
}

proptest! {
    #[test]
    fn any_text_grows_at_most_by_the_marks(text in "(?s).{0,400}") {
        let marked = redacted(&text);
        prop_assert!(marked.len() <= text.len() * 4 + REDACTED.len());
    }

    #[test]
    fn a_secret_is_found_between_any_two_words(
        before in "[a-z .,:=]{0,40}[ \"'=]",
        after in "([ \"',;\n][a-z .,:=]{0,40})?",
        secret in "(ghp_[A-Za-z0-9]{36}|xoxb-[0-9]{12}-[a-z]{12}|sk-[A-Za-z0-9]{32})",
    ) {
        let marked = redacted(&format!("{before}{secret}{after}"));
        prop_assert!(!marked.contains(&secret), "{}", marked);
    }
}
