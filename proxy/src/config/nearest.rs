//! The known name that a wrong one was probably meant to be.

/// What belongs to the known name nearest to `wrong`; none when all are far from it. A name
/// is near when few letters of it are wrong, or when its beginning or end was left out. Case,
/// dashes and the like do not count.
pub(crate) fn nearest<'a, T>(wrong: &str, known: impl Iterator<Item = (&'a str, T)>) -> Option<T> {
    let wrong = letters(wrong);
    let far = (wrong.len() / 3).max(1);
    let near = |(name, value): (&str, T)| {
        let name = letters(name);
        let distance = strsim::damerau_levenshtein(&name, &wrong);
        let is_part = wrong.len() > 2 && (name.starts_with(&wrong) || name.ends_with(&wrong));
        (distance <= far || is_part).then_some((distance, value))
    };
    known.filter_map(near).min_by_key(|(distance, _)| *distance).map(|(_, value)| value)
}

/// Whether two letters at most, or how they are spelled, tell a name from a known one.
pub(crate) fn is_slip(wrong: &str, known: &str) -> bool {
    strsim::damerau_levenshtein(&letters(wrong), &letters(known)) <= 2.min(known.len() / 2)
}

fn letters(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_is_found_and_nothing_that_is_far() {
        let known = ["server-id", "bearer-token", "mcpulse-api-key", "cwd", "listen"];
        for (wrong, meant) in [
            ("sever-id", Some("server-id")),
            ("SERVER_ID", Some("server-id")),
            ("token", Some("bearer-token")),
            ("apiKey", Some("mcpulse-api-key")),
            ("lsiten", Some("listen")),
            ("wd", Some("cwd")),
            ("nonsense", None),
            ("", None),
        ] {
            assert_eq!(
                nearest(wrong, known.map(|name| (name, name)).into_iter()),
                meant,
                "{wrong}"
            );
        }
    }
}
