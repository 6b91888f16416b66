//! The process itself, under the names that Prometheus clients share, read from `/proc`
//! where there is one.

use std::{
    fs,
    time::{SystemTime, UNIX_EPOCH},
};

use prometheus::proto::MetricFamily;

use super::family::Family;

const CPU: Family = Family::counter(
    "process_cpu_seconds_total",
    &[],
    "User and system CPU time spent, in seconds.",
);
const MEMORY: Family =
    Family::gauge("process_resident_memory_bytes", &[], "Resident memory, in bytes.");
const FDS: Family = Family::gauge("process_open_fds", &[], "Open file descriptors.");
const THREADS: Family = Family::gauge("process_threads", &[], "Threads.");
const START: Family = Family::gauge(
    "process_start_time_seconds",
    &[],
    "When the process started, in seconds since 1970.",
);

pub(super) const FAMILIES: [Family; 5] = [CPU, MEMORY, FDS, THREADS, START];

/// The kernel's unit of CPU time in `/proc`; 100 on every Linux that Rust builds for.
const TICKS_PER_SECOND: f64 = 100.0;

/// What can be read now; `started` is when the process began.
pub(super) fn read(started: SystemTime) -> Vec<MetricFamily> {
    let start = started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let fds = fs::read_dir("/proc/self/fd").ok().map(Iterator::count);
    [
        (CPU, cpu_seconds(&fs::read_to_string("/proc/self/stat").unwrap_or_default())),
        (MEMORY, status_field(&status, "VmRSS:").map(|kib| kib * 1024.0)),
        (FDS, fds.and_then(|fds| u32::try_from(fds).ok()).map(f64::from)),
        (THREADS, status_field(&status, "Threads:")),
        (START, Some(start)),
    ]
    .into_iter()
    .filter_map(|(family, value)| Some(family.filled([([], value?)])))
    .collect()
}

/// `proc_pid_stat(5)`: utime and stime are the 14th and 15th field; the 2nd, the program's
/// name in parentheses, may hold spaces.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / TICKS_PER_SECOND)
}

fn status_field(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 3 0 1 2 3";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(cpu_seconds(""), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn everything_is_there_on_linux() {
        let names: Vec<_> =
            read(SystemTime::now()).iter().map(|family| family.name().to_owned()).collect();
        assert_eq!(names, FAMILIES.map(|family| family.name));
    }
}
