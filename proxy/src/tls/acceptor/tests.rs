use std::{
    fs,
    io::{self, Write},
};

use rustls::ClientConfig;
use tokio::time::advance;

use super::*;
use crate::tls::{
    client_config,
    tests::{Authority, handshake},
};

fn trusting(authority: &Authority) -> ClientConfig {
    client_config(Some(&authority.path("ca.pem"))).unwrap()
}

async fn shown(authority: &Authority, acceptor: &Acceptor) -> Vec<u8> {
    handshake(trusting(authority), acceptor).await.unwrap().0
}

#[tokio::test]
async fn both_http_versions_and_both_tls_versions_are_offered() {
    let authority = Authority::new();
    authority.renew();
    let acceptor = Acceptor::new(&authority.files()).unwrap();
    for (offered, chosen) in
        [(vec![], None), (vec!["http/1.1"], Some("http/1.1")), (vec!["http/1.1", "h2"], Some("h2"))]
    {
        let mut config = trusting(&authority);
        config.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
        let (_, alpn) = handshake(config, &acceptor).await.unwrap();
        assert_eq!(alpn.as_deref(), chosen.map(str::as_bytes));
    }
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[version])
            .unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(
            parse_certificates(Path::new("ca"), &fs::read(authority.path("ca.pem")).unwrap())
                .unwrap(),
        );
        let config = config.with_root_certificates(roots).with_no_client_auth();
        assert!(handshake(config, &acceptor).await.is_ok(), "{:?}", version.version);
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_pair_is_shown_to_the_next_client() {
    let authority = Authority::new();
    let first = authority.renew();
    let acceptor = Acceptor::new(&authority.files()).unwrap();
    assert_eq!(shown(&authority, &acceptor).await, first);

    let second = authority.renew();
    assert_eq!(shown(&authority, &acceptor).await, first);
    advance(LOOK_EVERY).await;
    assert_eq!(shown(&authority, &acceptor).await, second);
}

/// Collects what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn warnings(&self) -> usize {
        String::from_utf8_lossy(&self.0.lock().unwrap()).matches("WARN").count()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_bad_pair_never_replaces_a_good_one() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _logging = tracing::subscriber::set_default(subscriber);

    let authority = Authority::new();
    let good = authority.renew();
    let acceptor = Acceptor::new(&authority.files()).unwrap();
    let (_, _, other_key) = authority.issue();
    let bad: [(&str, Option<&str>); 4] = [
        ("key.pem", Some(&other_key)),
        ("key.pem", Some("")),
        ("cert.pem", Some("hello")),
        ("cert.pem", None),
    ];
    for (step, (name, content)) in bad.into_iter().enumerate() {
        match content {
            Some(content) => fs::write(authority.path(name), content).unwrap(),
            None => fs::remove_file(authority.path(name)).unwrap(),
        }
        for _ in 0..3 {
            advance(LOOK_EVERY).await;
            assert_eq!(shown(&authority, &acceptor).await, good);
        }
        assert_eq!(log.warnings(), step + 1, "{name} {content:?}");
    }

    let next = authority.renew();
    advance(LOOK_EVERY).await;
    assert_eq!(shown(&authority, &acceptor).await, next);
}

#[test]
fn errors_name_the_file_and_what_is_wrong() {
    let authority = Authority::new();
    let error = || Acceptor::new(&authority.files()).unwrap_err().to_string();
    assert!(error().contains("cert.pem"));

    authority.renew();
    let (cert, _, key) = authority.issue();
    fs::write(authority.path("key.pem"), &key).unwrap();
    assert!(error().contains("key.pem does not match the certificate in"), "{}", error());
    fs::write(authority.path("key.pem"), &cert).unwrap();
    assert!(error().contains("key.pem: no private key"), "{}", error());
    fs::write(authority.path("key.pem"), key.replace("PRIVATE", "ENCRYPTED PRIVATE")).unwrap();
    assert!(error().contains("not encrypted"), "{}", error());
    fs::write(authority.path("cert.pem"), key).unwrap();
    assert!(error().contains("cert.pem: no certificate"), "{}", error());
}

#[test]
fn debug_shows_no_key() {
    let authority = Authority::new();
    authority.renew();
    assert_eq!(format!("{:?}", Acceptor::new(&authority.files()).unwrap()), "Acceptor");
}
