//! What OpenTelemetry's variables say beyond a value each, after its specification
//! (opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables): words in any
//! case, and what is not known is warned of and else as if it were not there.

use super::Environment;

/// The variable that says in one word how to sample.
const SAMPLER: &str = "OTEL_TRACES_SAMPLER";

/// What each sampler makes of the share of roots (none for what its argument says), of the
/// decisions of parents, and of calls that failed.
const SAMPLERS: [(&str, [Option<&str>; 3]); 6] = [
    ("always_on", [Some("1"), Some("false"), None]),
    ("always_off", [Some("0"), Some("false"), Some("false")]),
    ("traceidratio", [None, Some("false"), None]),
    ("parentbased_always_on", [Some("1"), None, None]),
    ("parentbased_always_off", [Some("0"), None, Some("false")]),
    ("parentbased_traceidratio", [None, None, None]),
];

/// What the variable says about the setting of this key.
pub(super) fn text<'e>(name: &str, key: &str, environment: &'e Environment) -> Option<&'e str> {
    let text = environment.get(name).filter(|_| !is_void(name, environment))?;
    if name != SAMPLER {
        return Some(text);
    }
    let &(_, [share, follow_parent, keep_failed]) = sampler(environment)?;
    match key {
        "otel.sample" => share,
        "otel.followParent" => follow_parent,
        "otel.keepFailed" => keep_failed,
        _ => None,
    }
}

/// What is passed over, and why.
pub(super) fn notices(environment: &Environment) -> Vec<String> {
    let mut notices = Vec::new();
    let mut unless = |name: &str, known: &[&str], why: &str| {
        if let Some(value) = environment.get(name)
            && !known.iter().any(|known| value.eq_ignore_ascii_case(known))
        {
            notices.push(format!("{name} is passed over: {why}"));
        }
    };
    for name in ["OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"] {
        let why = "spans leave over gRPC only; name the collector's gRPC port with --otel-endpoint";
        unless(name, &["grpc"], why);
    }
    unless("OTEL_SDK_DISABLED", &["true", "false"], "it is neither true nor false");
    let samplers = SAMPLERS.map(|(name, _)| name);
    unless(SAMPLER, &samplers, &format!("it is none of {}", samplers.join(", ")));
    notices
}

fn sampler(
    environment: &Environment,
) -> Option<&'static (&'static str, [Option<&'static str>; 3])> {
    let wanted = environment.get(SAMPLER)?;
    SAMPLERS.iter().find(|(name, _)| wanted.eq_ignore_ascii_case(name))
}

/// Whether other variables take the meaning from this one.
fn is_void(name: &str, environment: &Environment) -> bool {
    let is = |name, value: &str| {
        environment.get(name).is_some_and(|found| found.eq_ignore_ascii_case(value))
    };
    match name {
        "OTEL_TRACES_SAMPLER_ARG" => {
            !sampler(environment).is_some_and(|(name, _)| name.ends_with("ratio"))
        }
        name => {
            let off = is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none");
            off && name.starts_with("OTEL_") && name.ends_with("_ENDPOINT")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        let variables = variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
        Environment { variables: variables.collect(), program: None }
    }

    #[test]
    fn a_sampler_decides_about_roots_parents_and_failures() {
        let sampled = |sampler: &str| {
            let environment =
                environment(&[(SAMPLER, sampler), ("OTEL_TRACES_SAMPLER_ARG", "0.5")]);
            let share = ["OTEL_TRACES_SAMPLER_ARG", SAMPLER]
                .into_iter()
                .find_map(|name| text(name, "otel.sample", &environment));
            let said = |key| text(SAMPLER, key, &environment);
            let found = (share, said("otel.followParent"), said("otel.keepFailed"));
            let (share, parent, failed) = found;
            let word = |text: Option<&str>| text.unwrap_or("-").to_owned();
            [word(share), word(parent), word(failed)].join(" ")
        };
        for (sampler, meant) in [
            ("always_on", "1 false -"),
            ("ALWAYS_OFF", "0 false false"),
            ("traceidratio", "0.5 false -"),
            ("parentbased_always_on", "1 - -"),
            ("parentbased_always_off", "0 - false"),
            ("ParentBased_TraceIdRatio", "0.5 - -"),
            ("xray", "- - -"),
        ] {
            assert_eq!(sampled(sampler), meant, "{sampler}");
        }
    }

    #[test]
    fn words_count_in_any_case_and_others_are_warned_of() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317");
        let dials = |variable| {
            let environment = environment(&[endpoint, variable]);
            text(endpoint.0, "otel.endpoint", &environment).is_some()
        };
        for word in ["true", "TRUE", "True"] {
            assert!(!dials(("OTEL_SDK_DISABLED", word)), "{word}");
        }
        assert!(dials(("OTEL_SDK_DISABLED", "False")) && dials(("OTEL_SDK_DISABLED", "1")));
        assert!(!dials(("OTEL_TRACES_EXPORTER", "None")));
        let fine = [("OTEL_SDK_DISABLED", "FALSE"), (SAMPLER, "Always_On")];
        assert!(notices(&environment(&fine)).is_empty());
        let odd = [
            ("OTEL_SDK_DISABLED", "1"),
            (SAMPLER, "xray"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
        ];
        let notices = notices(&environment(&odd));
        assert_eq!(notices.len(), 3);
        for (name, _) in odd {
            assert!(notices.iter().any(|notice| notice.starts_with(name)), "{notices:?}");
        }
    }
}
