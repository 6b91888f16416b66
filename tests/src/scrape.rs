//! Reads `/metrics`: the Prometheus text format, version 0.0.4.

use std::{collections::BTreeMap, net::SocketAddr};

use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};

/// One scrape.
#[derive(Clone, Debug)]
pub struct Scrape {
    samples: Vec<Sample>,
}

/// One line of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The name, with `_bucket`, `_sum` or `_count` for histograms.
    pub name: String,
    /// The labels.
    pub labels: BTreeMap<String, String>,
    /// The value.
    pub value: f64,
}

/// Asks `GET /path` of an admin listener.
pub async fn get(address: SocketAddr, path: &str) -> (StatusCode, String) {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let uri = format!("http://{address}{path}").parse().expect("a URL");
    let response = client.get(uri).await.unwrap_or_else(|e| panic!("GET {address}{path}: {e:?}"));
    let status = response.status();
    let body = response.into_body().collect().await.expect("the whole body").to_bytes();
    (status, String::from_utf8(body.into()).expect("text"))
}

impl Scrape {
    /// Scrapes an admin listener.
    pub async fn of(address: SocketAddr) -> Self {
        let (status, text) = get(address, "/metrics").await;
        assert_eq!(status, StatusCode::OK, "{text}");
        Self::parse(&text)
    }

    /// Reads the text format.
    ///
    /// # Panics
    /// At a line that is not in that format.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let parse = |line| sample(line).unwrap_or_else(|| panic!("not a sample: {line}"));
        Self { samples: lines.map(parse).collect() }
    }

    /// Every sample.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// The samples with this name and at least these labels.
    pub fn find<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| {
            let has = |(key, value): &(&str, &str)| {
                sample.labels.get(*key).is_some_and(|found| found == value)
            };
            sample.name == name && labels.iter().all(has)
        })
    }

    /// The sum of those samples; 0 without any.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.find(name, labels).map(|sample| sample.value).sum()
    }

    /// Checks that for every sink the tool calls that were observed, and those restored from
    /// the spool, are delivered, rejected, dropped or queued. Returns the names of the sinks.
    pub fn assert_balanced(&self) -> Vec<String> {
        let observed = self.sum("mcpulse_calls_total", &[]);
        let queues = self.find("mcpulse_report_queue_length", &[]);
        let sinks: Vec<_> = queues.map(|queue| queue.labels["sink"].clone()).collect();
        for sink in &sinks {
            let labels = [("sink", sink.as_str())];
            let restored = self.sum("mcpulse_reports_restored_total", &labels);
            let settled = self.sum("mcpulse_reports_total", &labels);
            let queued = self.sum("mcpulse_report_queue_length", &labels);
            let balance = observed + restored - settled - queued;
            assert!(
                balance.abs() < 0.5,
                "{sink}: {observed} observed + {restored} restored is not {settled} settled + \
                 {queued} queued: {self:#?}"
            );
        }
        sinks
    }
}

fn sample(line: &str) -> Option<Sample> {
    let name_end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(name_end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    // A time stamp may follow the value.
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample { name: name.to_owned(), labels, value })
}

/// Reads `key="value",…}` and returns what follows it.
fn labels(mut rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches(',');
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (key, quoted) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = quoted.char_indices();
        rest = loop {
            match chars.next()? {
                (at, '"') => break &quoted[at + 1..],
                (_, '\\') => value.push(match chars.next()?.1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, plain) => value.push(plain),
            }
        };
        labels.insert(key.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_labels_and_escapes_are_read() {
        let text =
            "# TYPE a counter\na{x=\"1\",y=\"q\\\"\\\\\\n,}\"} 2\na{x=\"2\"} 3e1\n\nb NaN 17\n";
        let scrape = Scrape::parse(text);
        assert_eq!(scrape.samples().len(), 3);
        assert_eq!(scrape.samples()[0].labels["y"], "q\"\\\n,}");
        assert!((scrape.sum("a", &[]) - 32.0).abs() < f64::EPSILON);
        assert!((scrape.sum("a", &[("x", "2")]) - 30.0).abs() < f64::EPSILON);
        assert!(scrape.sum("b", &[]).is_nan());
    }

    #[test]
    #[should_panic(expected = "1 queued")]
    fn books_that_do_not_balance_are_found() {
        let text = "mcpulse_calls_total{outcome=\"ok\"} 3\n\
                    mcpulse_reports_total{sink=\"log\",result=\"delivered\"} 1\n\
                    mcpulse_report_queue_length{sink=\"log\"} 1\n";
        Scrape::parse(text).assert_balanced();
    }
}
