//! How long to wait before the next attempt: doubling, with jitter, for ever.

use std::time::Duration;

use uuid::Uuid;

/// How long waits are.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The first.
    pub first: Duration,
    /// What they grow to.
    pub longest: Duration,
}

impl Pace {
    /// While the other side may come back by itself.
    pub const SOON: Self =
        Self { first: Duration::from_millis(250), longest: Duration::from_secs(30) };
    /// While somebody has to act before an attempt can succeed.
    pub const LATE: Self = Self { first: Duration::from_secs(5), longest: Duration::from_mins(1) };
}

/// The waits between attempts that fail.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// An attempt has succeeded.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// The next wait at this pace.
    pub fn next(&mut self, Pace { first, longest }: Pace) -> Duration {
        let wait = first.saturating_mul(1 << self.failures.min(16)).min(longest);
        self.failures += 1;
        // Half of it is left to chance, so that many proxies do not come back as one.
        wait.mul_f64(1.0 - 0.5 * chance())
    }
}

/// A number from 0 up to 1.
fn chance() -> f64 {
    let (high, _) = Uuid::new_v4().as_u64_pair();
    // The first 32 bits of a version 4 UUID are random throughout.
    f64::from(u32::try_from(high >> 32).unwrap_or_default()) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_begin_anew() {
        let mut backoff = Backoff::default();
        for pace in [Pace::SOON, Pace::LATE] {
            let Pace { first, longest } = pace;
            let waits: Vec<_> = (0..40).map(|_| backoff.next(pace)).collect();
            assert!(waits[0] >= first / 2 && waits[0] <= first, "{waits:?}");
            assert!(waits[20..].iter().all(|&wait| wait >= longest / 2 && wait <= longest));
            assert!(waits[20..].iter().any(|&wait| wait != waits[20]), "no jitter");
            backoff.reset();
        }
    }
}
