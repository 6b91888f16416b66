//! The known name that a wrong one was probably meant to be.

/// What belongs to the known name nearest to `wrong`; none when all are far from it.
pub(super) fn nearest<'a, T>(wrong: &str, known: impl Iterator<Item = (&'a str, T)>) -> Option<T> {
    let far = (wrong.len() / 3).max(1);
    known
        .map(|(name, value)| (strsim::damerau_levenshtein(name, wrong), value))
        .filter(|(distance, _)| *distance <= far)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, value)| value)
}
