use super::*;

fn collector(endpoint: &str, header: Option<(&str, &str)>) -> Result<Collector, Error> {
    let headers = header.map(|(name, value)| Header::new(name, value).unwrap());
    let config = config::Otel {
        endpoint: Some(endpoint.to_owned()),
        headers: headers.into_iter().collect(),
        ..config::Otel::default()
    };
    Collector::new(&config)
}

#[tokio::test]
async fn what_cannot_work_is_said_before_anything_is_dialled() {
    for endpoint in ["", "collector:4317", "unix:/run/otel", "http://", "ftp://collector"] {
        let error = collector(endpoint, None).unwrap_err().to_string();
        assert!(error.contains("http://collector:4317"), "{endpoint}: {error}");
    }
    for header in [("x-key-bin", "hunter2"), ("x-key", "hun\nter2")] {
        let error = collector("http://collector:4317", Some(header)).unwrap_err().to_string();
        assert!(error.contains(header.0) && !error.contains(header.1), "{error}");
    }
    let config = config::Otel {
        endpoint: Some("https://collector".to_owned()),
        ca_file: Some("/does/not/exist".into()),
        ..config::Otel::default()
    };
    let error = Collector::new(&config).unwrap_err();
    assert!(error.to_string().contains("/does/not/exist"), "{error}");
}

#[tokio::test]
async fn the_address_shows_no_password() {
    let collector = collector("http://user:hunter2@collector:4317/path?key=hunter2", None).unwrap();
    assert_eq!(collector.address(), "http://collector:4317");
}

#[test]
fn codes_are_classified_as_the_specification_says() {
    use Code::*;
    let codes = [
        Cancelled,
        Unknown,
        InvalidArgument,
        DeadlineExceeded,
        NotFound,
        AlreadyExists,
        PermissionDenied,
        ResourceExhausted,
        FailedPrecondition,
        Aborted,
        OutOfRange,
        Unimplemented,
        Internal,
        Unavailable,
        DataLoss,
        Unauthenticated,
    ];
    let passing: Vec<_> = codes
        .into_iter()
        .filter(|code| {
            let failure = failure(&Status::new(*code, ""), String::new());
            matches!(failure, Failure::Passing(_))
        })
        .collect();
    assert_eq!(passing, [Cancelled, DeadlineExceeded, Aborted, OutOfRange, Unavailable, DataLoss]);
    let come_back = Status::with_details(ResourceExhausted, "", "retry info".into());
    assert!(matches!(failure(&come_back, String::new()), Failure::Passing(_)));
}

#[test]
fn a_repeated_header_is_hidden() {
    let headers = [Header::new("Authorization", "Basic hunter2").unwrap()];
    let metadata = metadata(&headers).unwrap();
    assert_eq!(without(&metadata, "no such key: Basic hunter2".into()), "no such key: ***");
    assert!(!format!("{metadata:?}").contains("hunter2"));
}
