//! The series of calls, resolved once per combination of labels and kept. However many names
//! a peer makes up, the number of series stays within a bound that the settings fix.

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{Arc, Mutex},
};

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::labels::{self, ErrorTypes, OTHER, OTHER_TOOL, TOOL_NAME_LIMIT};
use crate::{
    record::{Call, Outcome},
    sink::lock,
};

/// Durations have a series per tool, error type and protocol version, but at most
/// `SERIES_PER_TOOL * tools + FURTHER_SERIES` in all.
const SERIES_PER_TOOL: usize = 5;
const FURTHER_SERIES: usize = 200;

/// What a `mcpulse_calls_total` series counts: server, tool and outcome.
pub(super) type Kind = (Arc<str>, Arc<str>, &'static str);

/// Every kind so far. Kinds are only ever added, before their first call is counted.
pub(super) type Kinds = Arc<Mutex<Vec<Kind>>>;

/// The families that have series per operation.
#[derive(Debug)]
pub(super) struct Families {
    pub(super) durations: HistogramVec,
    pub(super) unmeasured: IntCounterVec,
    pub(super) bytes: IntCounterVec,
    pub(super) tools: IntGaugeVec,
    pub(super) folded: IntCounterVec,
}

/// Every series of every server.
#[derive(Debug)]
pub(super) struct Series {
    families: Families,
    folded: Folded,
    kinds: Kinds,
    tool_limit: usize,
    /// Series of durations that may still be made.
    left: usize,
    errors: ErrorTypes,
    servers: HashMap<Arc<str>, Server>,
}

/// Counts values that were replaced by one that stands for many.
#[derive(Debug)]
struct Folded {
    method: IntCounter,
    tool: IntCounter,
    error: IntCounter,
    version: IntCounter,
}

/// The series of one server; servers come from the configuration, never from the wire.
#[derive(Debug)]
struct Server {
    tools: HashMap<Arc<str>, Operation>,
    tool_count: IntGauge,
    other_tool: Operation,
    methods: HashMap<&'static str, Operation>,
    /// Durations beyond the bound, by method and whether it failed.
    beyond: HashMap<(&'static str, bool), Histogram>,
}

/// The series of one tool, or of one method that is no tool call.
#[derive(Debug)]
struct Operation {
    /// The value of the tool label; empty for a method.
    tool: Arc<str>,
    /// By error type and protocol version.
    durations: HashMap<(Cow<'static, str>, &'static str), Histogram>,
    /// Numbers of kinds, by outcome.
    kinds: HashMap<&'static str, usize>,
    /// Bytes of requests and of responses.
    bytes: Option<(IntCounter, IntCounter)>,
}

impl Series {
    pub(super) fn new(families: Families, kinds: Kinds, tool_limit: usize) -> Self {
        let folded = |label| families.folded.with_label_values(&[label]);
        Self {
            folded: Folded {
                method: folded("mcp_method_name"),
                tool: folded("gen_ai_tool_name"),
                error: folded("error_type"),
                version: folded("mcp_protocol_version"),
            },
            families,
            kinds,
            tool_limit,
            left: tool_limit.saturating_mul(SERIES_PER_TOOL).saturating_add(FURTHER_SERIES),
            errors: ErrorTypes::default(),
            servers: HashMap::new(),
        }
    }

    /// Counts a call; for a tool call, says under which kind the ledger is to count it.
    pub(super) fn count(&mut self, call: &Call) -> Option<usize> {
        let method = labels::method(&call.method);
        let version = labels::version(call.protocol_version.as_deref());
        let error = self.errors.label(call.outcome);
        for (folded, counter) in [
            (method == OTHER, &self.folded.method),
            (version == OTHER, &self.folded.version),
            (error == OTHER, &self.folded.error),
        ] {
            counter.inc_by(folded.into());
        }
        let server = self
            .servers
            .entry(Arc::clone(&call.server_id))
            .or_insert_with(|| Server::new(&self.families, &call.server_id));
        let operation = match &call.tool {
            Some(tool) => {
                let earned = call.outcome == Outcome::Ok && server.earn(tool, self.tool_limit);
                if !earned && !server.tools.contains_key(tool) {
                    self.folded.tool.inc();
                }
                server.tools.get_mut(tool).unwrap_or(&mut server.other_tool)
            }
            None => server.methods.entry(method).or_insert_with(|| Operation::new("".into())),
        };
        if is_measured(call.outcome) {
            let key = (error, version);
            let histogram = match operation.durations.get(&key) {
                Some(histogram) => histogram,
                None if self.left > 0 => {
                    self.left -= 1;
                    let values = [&*call.server_id, method, &operation.tool, &key.0, version];
                    let histogram = self.families.durations.with_label_values(&values);
                    operation.durations.entry(key).or_insert(histogram)
                }
                None => {
                    let failed = !key.0.is_empty();
                    server.beyond.entry((method, failed)).or_insert_with(|| {
                        let tool = if call.is_tool_call() { OTHER_TOOL } else { "" };
                        let error = if failed { OTHER } else { "" };
                        let values = [&*call.server_id, method, tool, error, OTHER];
                        self.families.durations.with_label_values(&values)
                    })
                }
            };
            histogram.observe(call.duration.as_secs_f64());
        } else {
            let values = [&*call.server_id, method, call.outcome.label()];
            self.families.unmeasured.with_label_values(&values).inc();
        }
        call.is_tool_call().then(|| {
            operation.add_bytes(call, &self.families.bytes);
            operation.kind(call, &self.kinds)
        })
    }

    /// These tools exist: they earn series as far as the limit goes.
    pub(super) fn list(&mut self, server_id: &Arc<str>, names: &[&str]) {
        let server = self
            .servers
            .entry(Arc::clone(server_id))
            .or_insert_with(|| Server::new(&self.families, server_id));
        for name in names {
            server.earn(name, self.tool_limit);
        }
    }
}

/// Whether the duration is that of a finished operation. Input asked for and tasks handed
/// out are steps of one; of what is unknown or was not seen the end is not known.
fn is_measured(outcome: Outcome) -> bool {
    !matches!(
        outcome,
        Outcome::InputRequired | Outcome::Task | Outcome::Other | Outcome::Unobserved
    )
}

impl Server {
    fn new(families: &Families, server_id: &str) -> Self {
        Self {
            tools: HashMap::new(),
            tool_count: families.tools.with_label_values(&[server_id]),
            other_tool: Operation::new(OTHER_TOOL.into()),
            methods: HashMap::new(),
            beyond: HashMap::new(),
        }
    }

    /// Whether the tool has series of its own now.
    fn earn(&mut self, tool: &str, limit: usize) -> bool {
        if self.tools.contains_key(tool) {
            return true;
        }
        if self.tools.len() >= limit || tool.len() > TOOL_NAME_LIMIT {
            return false;
        }
        let tool: Arc<str> = tool.into();
        self.tools.insert(Arc::clone(&tool), Operation::new(tool));
        self.tool_count.inc();
        true
    }
}

impl Operation {
    fn new(tool: Arc<str>) -> Self {
        Self { tool, durations: HashMap::new(), kinds: HashMap::new(), bytes: None }
    }

    fn add_bytes(&mut self, call: &Call, family: &IntCounterVec) {
        let (requests, responses) = self.bytes.get_or_insert_with(|| {
            let of = |what| family.with_label_values(&[&*call.server_id, &self.tool, what]);
            (of("request"), of("response"))
        });
        requests.inc_by(call.request_size);
        responses.inc_by(call.response_size);
    }

    fn kind(&mut self, call: &Call, kinds: &Kinds) -> usize {
        let outcome = call.outcome.label();
        *self.kinds.entry(outcome).or_insert_with(|| {
            let mut kinds = lock(kinds);
            kinds.push((Arc::clone(&call.server_id), Arc::clone(&self.tool), outcome));
            kinds.len() - 1
        })
    }
}
