//! What programs leave behind outside of their groups: it loses its parent, becomes a child of
//! this process, and is told apart by a mark in its environment.
//!
//! Only children are looked at, and nobody but this process reaps those: so a number is no
//! stranger's. Who is below one of them becomes a child when that has ended.

use std::{
    cell::Cell,
    collections::HashSet,
    fs,
    hash::{BuildHasher as _, RandomState},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, getpgid, getpid, kill_process};

/// The variable that a program and all that it starts have.
pub(crate) const MARK: &str = "MCPULSE_SHIM_SESSION";

/// The marks of this shim: in pods whose containers share their processes there are others.
#[derive(Debug)]
pub(crate) struct Marks {
    prefix: String,
    count: Cell<u64>,
}

impl Marks {
    /// Marks that no other shim gives.
    pub(crate) fn new() -> Self {
        let random = RandomState::new().hash_one(getpid().as_raw_nonzero());
        Self { prefix: format!("{random:016x}-"), count: Cell::new(0) }
    }

    /// One that was not given before, and its value in an environment.
    pub(crate) fn next(&self) -> (u64, String) {
        let mark = self.count.get() + 1;
        self.count.set(mark);
        (mark, format!("{}{mark}", self.prefix))
    }

    /// The mark in an environment.
    fn of(&self, environment: &[u8]) -> Option<u64> {
        let values = environment
            .split(|byte| *byte == 0)
            .filter_map(|variable| variable.strip_prefix(MARK.as_bytes())?.strip_prefix(b"="));
        let mut ours = values.filter_map(|value| value.strip_prefix(self.prefix.as_bytes()));
        ours.find_map(|mark| str::from_utf8(mark).ok()?.parse().ok())
    }
}

/// Those who were asked to end.
#[derive(Debug, Default)]
pub(crate) struct Strays(Vec<Stray>);

#[derive(Debug)]
struct Stray {
    number: Pid,
    /// When it is made to. None once it was.
    due: Option<Instant>,
}

impl Strays {
    /// Asks those to end whose program is none of those running, and makes those that were asked
    /// `kill_after` ago. Who is in one of the groups is its session's to end.
    pub(crate) fn sweep(
        &mut self,
        marks: &Marks,
        groups: &HashSet<Pid>,
        running: &HashSet<u64>,
        now: Instant,
        kill_after: Duration,
    ) {
        for stray in &mut self.0 {
            if stray.due.is_some_and(|due| due <= now) {
                stray.due = None;
                // It may have ended meanwhile, as may who is asked below.
                let _ = kill_process(stray.number, Signal::KILL);
            }
        }
        for number in children() {
            let is_known = self.0.iter().any(|stray| stray.number == number);
            if is_known || getpgid(Some(number)).is_ok_and(|group| groups.contains(&group)) {
                continue;
            }
            let environment = fs::read(format!("/proc/{number}/environ")).unwrap_or_default();
            if marks.of(&environment).is_some_and(|mark| !running.contains(&mark)) {
                let _ = kill_process(number, Signal::TERM);
                self.0.push(Stray { number, due: Some(now + kill_after) });
            }
        }
    }

    /// Forgets one that was reaped.
    pub(crate) fn reaped(&mut self, number: Pid) {
        self.0.retain(|stray| stray.number != number);
    }

    /// When to sweep even if nobody ends.
    pub(crate) fn when(&self) -> Option<Instant> {
        self.0.iter().filter_map(|stray| stray.due).min()
    }
}

/// The children of this process. It starts them by its main thread, to which the kernel gives
/// those that lose their parent.
fn children() -> impl Iterator<Item = Pid> {
    let path = format!("/proc/self/task/{}/children", getpid());
    let list = fs::read_to_string(path).unwrap_or_default();
    let numbers: Vec<i32> =
        list.split_ascii_whitespace().filter_map(|number| number.parse().ok()).collect();
    numbers.into_iter().filter_map(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found_among_variables_and_only_ones_own() {
        let (marks, others) = (Marks::new(), Marks::new());
        let (mark, value) = marks.next();
        assert_eq!(mark, 1);
        let environment = format!("A=1\0{MARK}=x\0{MARK}={value}\0B={value}\0");
        assert_eq!(marks.of(environment.as_bytes()), Some(1));
        assert_eq!(others.of(environment.as_bytes()), None);
        assert_eq!(marks.of(format!("B={value}\0").as_bytes()), None);
        assert_eq!(marks.next().0, 2);
    }
}
