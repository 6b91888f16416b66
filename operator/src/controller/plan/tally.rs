//! Counts pods: who carries the sidecar, who does not, and why.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use kube::Resource;

use super::{Course, image};
use crate::{
    controller::{
        gather::{Gathered, Owner},
        pod::{Health, Pod, Shape},
    },
    crd::{
        Finding, Injection, McpServerStatus,
        condition::Reason,
        injection::{CONFIG, REVISION},
        selector::Selector,
        status::{PodCounts, Skipped, Workload},
    },
    splice::{self, Skip},
};

/// Reasons that are said; more are left out.
const REASONS: usize = 32;
/// Workloads that are said.
const WORKLOADS: usize = 50;
/// Longest message of a reason, in characters.
const MESSAGE: usize = 512;

/// What is to be thought of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::controller) enum Verdict {
    /// It carries the sidecar as it would be injected now.
    Current,
    /// It carries it, and needs no restart to have what it lacks.
    Behind,
    /// It carries the one of another spec.
    Outdated,
    /// It should carry it, and does not.
    Missing {
        /// Whether it was created when the `McpServer` was there.
        missed: bool,
    },
    /// It stays without.
    Skipped,
}

/// The pods of a `McpServer`, counted.
#[derive(Debug, Default)]
pub(in crate::controller) struct Tally {
    pub(super) counts: PodCounts,
    /// What is to be thought of the pods of each owner, in their order.
    pub(super) verdicts: BTreeMap<Owner, Vec<Verdict>>,
    skipped: BTreeMap<String, (u32, String)>,
    /// What the kubelet says of sidecars that fail with what is injected now.
    failing: Vec<String>,
}

impl Tally {
    /// Counts.
    pub(super) fn of(
        gathered: &Gathered,
        injection: Result<&Injection, &Finding>,
        revisions: &[String],
    ) -> Self {
        let mut tally = Self::default();
        let mut spliced: HashMap<Shape<'_>, Option<Skip>> = HashMap::new();
        for (owner, group) in &gathered.groups {
            let mut verdicts = Vec::with_capacity(group.pods.len());
            for pod in &group.pods {
                let verdict = match (&pod.sidecar, injection) {
                    (Some(_), _) => tally.carrier(pod, injection.ok(), revisions),
                    (None, Err(finding)) => {
                        tally.skip(&finding.reason.to_string(), &finding.message);
                        Verdict::Skipped
                    }
                    (None, Ok(injection)) => {
                        let skip = pod.shape().and_then(|shape| {
                            let splice = || splice::splice(&shape.pod(), injection).err();
                            spliced.entry(shape).or_insert_with(splice).clone()
                        });
                        tally.without(gathered, pod, skip)
                    }
                };
                verdicts.push(verdict);
            }
            tally.verdicts.insert(owner.clone(), verdicts);
        }
        tally
    }

    fn carrier(
        &mut self,
        pod: &Pod,
        injection: Option<&Injection>,
        revisions: &[String],
    ) -> Verdict {
        let Some(sidecar) = &pod.sidecar else { return Verdict::Skipped };
        self.counts.matched += 1;
        self.counts.injected += 1;
        self.counts.ready += u32::from(sidecar.is_ready());
        self.counts.failing += u32::from(sidecar.is_failing());
        let Some(injection) = injection else {
            self.counts.outdated += 1;
            return Verdict::Outdated;
        };
        let revision = pod.annotation(REVISION);
        let same = revision == Some(injection.revision.as_str());
        let image = sidecar.image == image(injection);
        if let (Health::Failing(how), true, true) = (&sidecar.health, same, image) {
            self.failing.push(format!("pod {}: {how}", pod.name()));
        }
        let config = injection.annotations.get(CONFIG).map(String::as_str);
        let config = pod.annotation(CONFIG) == config;
        if same && image && config {
            self.counts.up_to_date += 1;
            return Verdict::Current;
        }
        self.counts.outdated += 1;
        let known = revision.is_some_and(|it| revisions.iter().any(|known| known == it));
        if known { Verdict::Behind } else { Verdict::Outdated }
    }

    fn without(&mut self, gathered: &Gathered, pod: &Pod, skip: Option<Skip>) -> Verdict {
        if let Some(skip) = skip {
            self.skip(skip.reason(), &skip.to_string());
            return Verdict::Skipped;
        }
        let missed = pod.meta().creation_timestamp >= gathered.server.metadata.creation_timestamp;
        let (reason, message) = if missed {
            (
                Reason::Missed,
                "created without the sidecar, while the API server was starting or the McpServer \
                 was new; a pod that is made anew gets it",
            )
        } else {
            (Reason::NotRestarted, "runs since before the McpServer; restart its workload")
        };
        self.skip(&reason.to_string(), message);
        Verdict::Missing { missed }
    }

    fn skip(&mut self, reason: &str, message: &str) {
        self.counts.matched += 1;
        self.counts.skipped += 1;
        let message = || (0, message.chars().take(MESSAGE).collect());
        self.skipped.entry(reason.to_owned()).or_insert_with(message).0 += 1;
    }

    /// How pods fail because of what is injected now, once so many do.
    pub(super) fn fails_at(&self, pods: usize) -> Option<String> {
        let first = self.failing.first().filter(|_| self.failing.len() >= pods)?;
        let failing = self.failing.len();
        Some(format!("{failing} sidecars cannot start, such as that of {first}"))
    }

    /// How many pods have no sidecar for this reason.
    pub(super) fn reason(&self, reason: Reason) -> u32 {
        self.skipped.get(&reason.to_string()).map_or(0, |known| known.0)
    }

    /// The pods of which this is thought, with their owners.
    pub(super) fn pods<'a>(
        &'a self,
        gathered: &'a Gathered,
        wanted: Verdict,
    ) -> impl Iterator<Item = (&'a Owner, &'a Arc<Pod>)> {
        gathered.groups.iter().flat_map(move |(owner, group)| {
            let verdicts = self.verdicts.get(owner).into_iter().flatten();
            let pods = group.pods.iter().zip(verdicts);
            pods.filter(move |one| *one.1 == wanted).map(move |one| (owner, one.0))
        })
    }

    /// Writes what was counted.
    pub(super) fn tell(
        &self,
        status: &mut McpServerStatus,
        gathered: &Gathered,
        courses: &[(&Owner, Course)],
    ) {
        status.pods = self.counts;
        status.injected = format!("{}/{}", self.counts.injected, self.counts.matched);
        status.target = target(gathered);
        let skipped = self.skipped.iter().take(REASONS).map(|(reason, (count, message))| Skipped {
            reason: reason.clone(),
            count: *count,
            message: message.clone(),
        });
        status.skipped = skipped.collect();
        let mut workloads: Vec<Workload> = courses
            .iter()
            .filter_map(|(owner, course)| {
                let group = gathered.groups.get(*owner).filter(|group| !group.pods.is_empty())?;
                let count = |pods: usize| u32::try_from(pods).unwrap_or(u32::MAX);
                let carriers = group.pods.iter().filter(|pod| pod.sidecar.is_some());
                Some(Workload {
                    kind: owner.kind.clone(),
                    name: owner.name.clone(),
                    injected: count(carriers.count()),
                    desired: count(group.pods.len()),
                    rollout: course.state,
                })
            })
            .collect();
        // Those that something happens to stay, should there be too many.
        workloads.sort_by_key(|one| Reverse(one.rollout));
        workloads.truncate(WORKLOADS);
        workloads.sort_by(|a, b| (&a.kind, &a.name).cmp(&(&b.kind, &b.name)));
        status.workloads = workloads;
    }
}

/// The pods that are meant, in a few words.
fn target(gathered: &Gathered) -> String {
    let named = gathered.server.spec.target_ref.as_ref();
    let named = named.map(|named| format!("{}/{}", named.kind.name(), named.name));
    let selected = || gathered.server.spec.selector.as_ref().map(words);
    named.or_else(selected).unwrap_or_default()
}

/// A selector as `kubectl -l` takes it, shortened.
fn words(selector: &Selector) -> String {
    let labels = selector.match_labels.iter().map(|(key, value)| format!("{key}={value}"));
    let more = selector.match_expressions.len();
    let more = (more > 0).then(|| format!("{more} matchExpressions"));
    let words: Vec<String> = labels.chain(more).collect();
    words.join(",").chars().take(256).collect()
}
