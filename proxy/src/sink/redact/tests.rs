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
        "creds",
        "sshKey",
        "authorizationHeader",
        "passwordConfirmation",
        "master_key",
        "pin",
        "otp",
        "totp",
        "mfa_code",
        "cvv",
        "cvc",
        "DB_PASS",
        "userCreds",
        "basic_auth",
        "http_auth",
        "authorization_code",
        "auth_code",
        "code_verifier",
        "client_assertion",
        "assertion",
        "subscription-key",
        "license_key",
        "service_key",
        "storage_key",
        "enc_key",
        "password_old",
        "password_plain",
        "passwordText",
        "secretText",
        "secretData",
        "SecretString",
        "token_b64",
        "privatekey_pem",
        "totp_seed",
        "seed_phrase",
        "mnemonic",
        "recovery_phrase",
        "security_code",
        "card_number",
        "csrf",
        "pw",
        "SENTRY_DSN",
    ] {
        let text = format!("{name}=hunter2");
        assert!(!redacted(&text).contains("hunter2"), "{text}");
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
        "nextPageToken",
        "page_token",
        "progressToken",
        "cursor",
        "mapping",
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
        "whsec_abcdefghij0123456789abcdefghij",
        "dckr_pat_abcdefghij0123456789abcdefg",
        "lin_api_abcdefghij0123456789abcdefghij0123456789",
        "NRAK-ABCDEFGHIJ0123456789ABCDEFG",
        "AGE-SECRET-KEY-1QQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQ",
        concat!("MTIzNDU2Nzg5MDEyMzQ1Njc4", ".GabcDE.", "abcdefghijklmnopqrstuvwxyz0123456789AB"),
        concat!("gsk_", "0123456789abcdefghij0123456789ABCDEFGHIJ"),
        concat!("xai-", "0123456789abcdefghij0123456789ABCDEFGHIJ"),
        concat!("pplx-", "0123456789abcdefghij0123456789ABCDEFGHIJ"),
        concat!("nvapi-", "0123456789abcdefghij0123456789ABCDEFGHIJ"),
        concat!("r8_", "0123456789abcdefghij0123456789ABCDEFGHIJ"),
        concat!("ATATT3x", "0123456789abcdefghij0123456789ABCDEFGHIJ"),
        concat!("glsa_", "0123456789abcdefghij0123456789ABCDEFGHIJ"),
        concat!("dapi", "0123456789abcdef0123456789abcdef"),
        concat!("ntn_", "0123456789abcdefghij0123456789ABCDEFGHIJ"),
        concat!("secret_", "0123456789abcdefghij0123456789ABCDEFGHIJabc"),
        concat!("figd_", "0123456789abcdefghij0123456789ABCDEFGHIJ"),
        concat!("sntrys_", "0123456789abcdefghij0123456789ABCDEFGHIJ"),
        concat!("tskey-", "auth-0123456789abcdefghij0123456789ABCDEFGHIJ"),
        concat!("PMAK-", "0123456789abcdef0123456789abcdef"),
        concat!("CFPAT-", "0123456789abcdefghij0123456789ABCDEFGHIJ"),
        concat!("key-", "0123456789abcdef0123456789abcdef"),
        concat!(
            "EAA",
            "0123456789abcdefghij0123456789ABCDEFGHIJ0123456789abcdefghij0123456789ABCDEFGHIJ"
        ),
        concat!("ops_eyJ", "0123456789abcdefghij0123456789ABCDEFGHIJ"),
        concat!(
            "ABSK",
            "0123456789abcdefghij0123456789ABCDEFGHIJ0123456789abcdefghij0123456789ABCDEFGHIJ"
        ),
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
        (r#"password=a&token="b SECRET" x"#, "password=[REDACTED] x"),
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
fn a_secret_is_found_in_whatever_notation() {
    for text in [
        r#"{"key":"X-Api-Key","value":"SECRET"}"#,
        r#"said: [{"name":"password","value":"SECRET"}]"#,
        r#"{"value":"SECRET","type":"x","name":"password"}"#,
        r#"{"name":"password","meta":{"name":"}"},"val":"SECRET"}"#,
        r#"{"variable":"DB_PASS","value":"SECRET"}"#,
        r#"{"label":"pin","val":"SECRET"}"#,
        r#"{"body":"{\"key\":\"X-Api-Key\",\"value\":\"SECRET\"}"}"#,
        r#"["curl","-u","user:SECRET"]"#,
        "curl -v -uuser:SECRET https://h/",
        "-uuser:SECRET",
        "mysql -h db -pSECRET",
        "sshpass -p SECRET ssh h",
        r#"["x","--password","SECRET SECRET"]"#,
        r#"{"pass\u0077ord":"SECRET"}"#,
        r#"{\"pass\\u0077ord\":\"SECRET\"}"#,
        r#"("password", "a SECRET")"#,
        r#"[("authorization", "Bearer SECRET")]"#,
        r#"Config { password: Some("a SECRET"), n: 1 }"#,
        r#"Config { password: Secret { inner: "a SECRET" } }"#,
        r#"Password("a SECRET")"#,
        "PASSWORDS=(a SECRET)",
        r#"declare -A c=(["password"]="a SECRET")"#,
        "user: x\npassword: |\n  a\n  SECRET\nn: 1",
        "user: x\npassword: >-\n  a\n\n  SECRET\nn: 1",
        "user: x\npassword: a plain SECRET\nn: 1",
        "env:\n  - name: DB_PASS\n    value: SECRET\n",
        r#"{"file":"user: x\npassword: |\n  a\n  SECRET\nn: 1"}"#,
        "<password>a SECRET</password>",
        r#"<c:password type="x">a SECRET</c:password>"#,
        "<password>SECRET",
        r#"<add key="password" value="SECRET"/>"#,
        r#"<property name="password">SECRET</property>"#,
        "<property><name>password</name><value>SECRET</value></property>",
        "<key>password</key><string>SECRET</string>",
        r#"<user password="a SECRET"/>"#,
        "the password is SECRET",
        "the password is 'correct SECRET'",
        "token is: abcSECRET1.",
        "-H 'Cookie: a=b; c=SECRET' https://h/",
        "spring.datasource.password=SECRET",
        r#"password == "SECRET""#,
        r#"{"n":1,"password":12345SECRET"#,
        "Authorization: Digest username=\"a\", response=\"SECRET\"",
        "//registry.npmjs.org/:_authToken=SECRET",
        "the api key: SECRET",
        "Incorrect API key provided: SECRET",
        "password for bob: SECRET",
        "CREATE USER bob WITH PASSWORD 'a SECRET'",
        "CREATE USER bob IDENTIFIED BY 'a SECRET'",
        "docker login -u bob -p SECRET",
        "login bob password SECRET",
        "machine h login bob password SECRET",
        "https://h/?q=password%3DSECRET",
        "password -> SECRET",
        "PASSWORD\u{ff1a}SECRET",
        // Not harmless by what stands around it.
        "token: abc1SECRET",
        "token: getToken(\"SECRET\")",
        "auth: { password: SECRET }",
        r#"{"token": "SECRET"}"#,
        "auth=SECRET",
        "password: SECRET",
        "pin: 1234SECRET",
    ] {
        let found = redacted(text);
        assert!(!found.contains("SECRET") && found.contains(REDACTED), "{text}\n{found}");
        assert_eq!(redacted(&found), found, "{text}");
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
        "bearer of news",
        "the password is required, the token was revoked, a secret is missing",
        r#"{"nextPageToken":"abc123","page_token":"CAUQAA","cursor":"b2Zmc2V0OjEw"}"#,
        "nextPageToken: CAUQAA",
        "grep -u a:b",
        "python -u script.py:12",
        r#"["python","-u","script.py:12"]"#,
        "if token == expected:",
        "Token::new(x) != token",
        "login <token> [--flag]",
        "user: x\npassword:\nport: 12",
        r#"["username","password"]"#,
        r#"{"name":"city","value":"Paris"}"#,
        "it's the users' 5\" disk: don't",
        r#"{"a":"C:\new\table","b":"line\nline"}"#,
        "Grüße aus Köln",
        "Unexpected token: }",
        "3 tests pass: all",
        "pass: 12, fail: 3",
        "jwt: malformed",
        "Password: required",
        "function signature: f(x)",
        "let token: string",
        "password: string;",
        "token = getToken()",
        "const password = process.env.PASSWORD",
        r#"{"auth": true, "n": 1}"#,
        "\"auth\": true",
        "auth=none",
        "the pin is 5 mm long",
        "pin: 4",
        "Bearer authentication",
        "WWW-Authenticate: Bearer realm=\"x\"",
        "the sk-assessment",
        "sudo --user bob:staff",
        "docker run --user 1000:1000 -p 80:80 image",
        "Invalid API key: missing",
        "Invalid API key: please check it",
        "users identified by email, protected with password",
    ] {
        assert_eq!(redacted(text), text);
    }
}

#[test]
fn a_flood_of_names_costs_no_more_than_its_length() {
    for flood in [
        "token=",
        "token=\"\"",
        "?token=&",
        "token='",
        "tokens=1,",
        "--token ",
        "token=[",
        "(\"token\", ",
        "[\"token\",[",
        "<token>",
        "<name><value>",
        "{\"value\":[",
        "{\"name\":{",
        "token:\n ",
        "- name: token\n  value: ",
        "\"\\",
        "\\\"token\\\":",
        "'\\'",
        "password is ",
        "-u a",
        "token\\",
        "token: a\n",
        "key=\"",
        "--user a:",
        "token (",
        "\"token\" ",
        "token      ",
        "token: a ",
        "token: { ",
        "sk-aaaaaaaaaaaaaaaaaaaaaaaa-",
        "api key: ",
        "login a password ",
    ] {
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

    #[test]
    fn no_notation_hides_a_secret(
        name in prop::sample::select(&["password", "apiKey", "X-Api-Key", "DB_PASS", "client_secret", "github.token", "authorizationHeader", "otp"][..]),
        secret in "[a-z]{3}[A-Z]{3}[0-9]{3}[a-zA-Z0-9!%+/]{0,8}Z",
        notation in 0..NOTATIONS.len(),
        before in "([a-z ,.]{0,20}\n)?",
        after in "(\n[a-z .,]{0,20})?",
        strings in 0..4,
    ) {
        let mut text = NOTATIONS[notation].replace("NAME", name).replace("VALUE", &secret);
        text = format!("{before}{text}{after}");
        for _ in 0..strings {
            text = serde_json::json!({ "n": 1, "body": text }).to_string();
        }
        let marked = redacted(&text);
        prop_assert!(!marked.contains(&secret), "{}\n{}", text, marked);
        prop_assert!(marked.contains(REDACTED));
        prop_assert_eq!(redacted(&marked), marked);
    }

    #[test]
    fn no_text_is_too_odd(parts in prop::collection::vec(prop::sample::select(&PARTS[..]), 0..24)) {
        let text = parts.concat();
        let marked = redacted(&text);
        prop_assert!(marked.len() <= text.len() * 4 + REDACTED.len());
    }
}

/// Ways in which a secret is written under its name.
const NOTATIONS: [&str; 27] = [
    r#"{"NAME":"VALUE"}"#,
    r#"{"a": [{"b": {"NAME": ["VALUE"]}}]}"#,
    r#"{"name": "NAME", "value": "VALUE"}"#,
    r#"{"value": "VALUE", "key": "NAME"}"#,
    r#"["NAME", "VALUE"]"#,
    "{'NAME': 'VALUE', 'n': 1}",
    "('NAME', 'VALUE')",
    "NAME='a VALUE'",
    "NAME: VALUE",
    "n: 1\nNAME: a VALUE",
    "NAME: |\n  a\n  VALUE",
    "NAME:\n  VALUE",
    "- name: NAME\n  value: VALUE",
    "NAME=VALUE",
    "export NAME=VALUE",
    "NAME = \"VALUE\"",
    "https://h/p?a=1&NAME=VALUE&b=2",
    "run --NAME VALUE -v",
    "run --NAME=VALUE -v",
    r#"["run", "--NAME", "VALUE"]"#,
    "<NAME>VALUE</NAME>",
    r#"<a NAME="VALUE"/>"#,
    r#"<add key="NAME" value="VALUE"/>"#,
    r#"Config { NAME: "a VALUE", n: 1 }"#,
    r#"Config { NAME: Some("a VALUE") }"#,
    r#"{"NAME": Some("a VALUE")}"#,
    "the NAME is VALUE.",
];

/// What texts with secrets are made of.
const PARTS: [&str; 30] = [
    "password", "token", "=", ": ", ":", "\"", "'", "\\\"", "\\n", "\n", "  ", " ", "{", "}", "[",
    "]", "(", ")", ",", ";", "&", "abc1", "name", "value", "Bearer ", "--token ", "<token>", "</",
    "cookie", "|\n",
];
