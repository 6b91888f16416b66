//! What the proxies hold, second by second, and whether it stays.

use std::{fs, net::SocketAddr, process, sync::PoisonError, time::Instant};

use mcpulse_tests::Scrape;

use super::sessions::Tally;

const MIB: f64 = (1 << 20) as f64;
/// What is watched, and how much more than in the second third the median of the last third may
/// be: by this share, and by so much.
const FIGURES: [(&str, f64, f64); 5] = [
    ("resident, HTTP to stdio, MiB", 1.05, 1.0),
    ("open files, HTTP to stdio", 1.05, 8.0),
    ("programs of HTTP to stdio", 1.05, 4.0),
    ("resident, stdio to HTTP, mean of those that stay, MiB", 1.05, 1.0),
    ("processes in all", 1.05, 8.0),
];

/// Looks at the proxies.
pub(super) struct Watch {
    bridge: u32,
    metrics: SocketAddr,
    looks: Vec<[f64; FIGURES.len()]>,
    scrapes: usize,
}

impl Watch {
    pub(super) fn new(bridge: u32, metrics: SocketAddr) -> Self {
        Self { bridge, metrics, looks: Vec::new(), scrapes: 0 }
    }

    /// Takes the figures, and checks the books of every proxy that stays.
    pub(super) async fn look(&mut self, begun: Instant, tally: &Tally) {
        let scrape = Scrape::of(self.metrics).await;
        assert_eq!(scrape.assert_balanced().len(), 2, "sinks");
        let kept = tally.kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut resident = Vec::new();
        for metrics in kept {
            let scrape = Scrape::of(metrics).await;
            assert_eq!(scrape.assert_balanced().len(), 2, "sinks");
            resident.push(scrape.sum("process_resident_memory_bytes", &[]) / MIB);
        }
        self.scrapes += 1 + resident.len();
        let figures = [
            scrape.sum("process_resident_memory_bytes", &[]) / MIB,
            scrape.sum("process_open_fds", &[]),
            count(below(self.bridge)),
            resident.iter().sum::<f64>() / count(resident.len().max(1)),
            count(below(process::id())),
        ];
        if self.looks.len().is_multiple_of(60) {
            eprintln!("{:>4} s: {figures:.1?}; {tally}", begun.elapsed().as_secs());
        }
        self.looks.push(figures);
    }

    /// All scrapes, of which each balanced.
    pub(super) fn scrapes(&self) -> usize {
        self.scrapes
    }

    /// Prints the medians of each third. Returns whether the last is as the second.
    pub(super) fn report(&self) -> bool {
        println!("| median of | first third | second | last |\n|---|---|---|---|");
        let third = self.looks.len() / 3;
        let mut flat = third > 0;
        for (figure, (name, share, more)) in FIGURES.into_iter().enumerate() {
            let median = |from: usize| {
                let looks = self.looks.iter().skip(from * third).take(third);
                let mut values: Vec<_> = looks.map(|look| look[figure]).collect();
                values.sort_by(f64::total_cmp);
                values.get(values.len() / 2).copied().unwrap_or_default()
            };
            let [first, second, last] = [0, 1, 2].map(median);
            println!("| {name} | {first:.1} | {second:.1} | {last:.1} |");
            flat &= last <= second.mul_add(share, more);
        }
        flat
    }
}

/// How many processes descend from this one.
pub(super) fn below(ancestor: u32) -> usize {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let parents = processes.filter_map(|process| {
        let stat = fs::read_to_string(process.path().join("stat")).ok()?;
        // The name before it may hold anything, parentheses included.
        let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
        Some((process.file_name().to_str()?.parse().ok()?, parent))
    });
    let parents: Vec<(u32, u32)> = parents.collect();
    let mut family = vec![ancestor];
    let mut looked = 0;
    while let Some(&parent) = family.get(looked) {
        family.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| pid));
        looked += 1;
    }
    family.len() - 1
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn count(number: usize) -> f64 {
    number as f64
}
