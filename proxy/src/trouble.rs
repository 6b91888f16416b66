//! Speaks of a lasting trouble once, then at most once a minute, and once of its end.

use std::time::Duration;

use tokio::time::Instant;

/// Least time between two lines about a trouble that lasts or returns.
const SILENCE: Duration = Duration::from_mins(1);

/// One kind of trouble.
#[derive(Debug, Default)]
pub struct Trouble {
    since: Option<Instant>,
    spoke: Option<Instant>,
    /// Whether the log says that there is trouble.
    told: bool,
}

impl Trouble {
    /// It is there. Whether to speak of it now.
    pub fn begins_or_lasts(&mut self) -> bool {
        let now = Instant::now();
        self.since.get_or_insert(now);
        if self.spoke.is_some_and(|spoke| now < spoke + SILENCE) {
            return false;
        }
        self.spoke = Some(now);
        self.told = true;
        true
    }

    /// Whether it is there.
    pub(super) fn lasts(&self) -> bool {
        self.since.is_some()
    }

    /// It is gone. How long it lasted, when the log said that it was there.
    pub fn ends(&mut self) -> Option<Duration> {
        let lasted = self.since.take()?.elapsed();
        std::mem::take(&mut self.told).then_some(lasted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn at_most_one_line_a_minute_however_it_flickers() {
        let mut trouble = Trouble::default();
        assert_eq!(trouble.ends(), None);
        let (mut begun, mut ended) = (0, 0);
        for _ in 0..300 {
            begun += usize::from(trouble.begins_or_lasts());
            tokio::time::advance(Duration::from_secs(1)).await;
            ended += usize::from(trouble.ends().is_some());
        }
        assert_eq!((begun, ended), (5, 5));
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_knows_how_long_it_was() {
        let mut trouble = Trouble::default();
        assert!(trouble.begins_or_lasts());
        tokio::time::advance(Duration::from_secs(90)).await;
        assert!(trouble.begins_or_lasts());
        assert_eq!(trouble.ends(), Some(Duration::from_secs(90)));
    }
}
