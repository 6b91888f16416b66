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
    ] {
        assert!(Redactor::is_secret(name), "{name}");
    }
    for name in ["max_tokens", "author", "key", "path", "tokenizer", "secretary", "keyboard", ""] {
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
fn ordinary_text_passes_unchanged() {
    for text in [
        "",
        "file not found: /tmp/risk-assessment-2026.txt",
        "https://user@example.com/a?page=2",
        "https://example.com:8080/path",
        "max_tokens must be below 4096",
        "task-force-for-something-long",
        "the bearer",
        "Grüße aus Köln",
    ] {
        assert_eq!(redacted(text), text);
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
