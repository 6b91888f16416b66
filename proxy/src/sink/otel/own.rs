//! The proxy's own spans, which `tracing` makes. They are no tool calls and stand in no
//! account: what cannot be exported at once is dropped and counted.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use opentelemetry::{Context, trace::TracerProvider as _};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{Sampler, SdkTracer, SdkTracerProvider, Span, SpanData, SpanProcessor},
};
use tokio::{
    sync::mpsc::{self, Receiver, Sender},
    task::JoinHandle,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::{BATCH, FLUSH_INTERVAL, collector::Collector};
use crate::config;

/// Spans that wait to be exported.
const QUEUE: usize = 4 * BATCH;
/// Longest wait for the last of them.
const LAST_MOMENT: Duration = Duration::from_millis(200);

/// Export of the proxy's own spans.
#[derive(Debug)]
pub struct OwnSpans {
    tracer: SdkTracer,
    end: CancellationToken,
    task: JoinHandle<()>,
    lost: Arc<AtomicU64>,
}

impl OwnSpans {
    /// Starts exporting, as the service `name` unless the configuration has another. Must be
    /// called within a runtime.
    ///
    /// # Errors
    /// When the endpoint, a header or the file of authorities cannot be used.
    pub fn start(config: &config::Otel, name: &str) -> Result<Self, super::Error> {
        let collector = Collector::new(config)?;
        let (sender, receiver) = mpsc::channel(QUEUE);
        let lost = Arc::<AtomicU64>::default();
        let provider = SdkTracerProvider::builder()
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)))
            .with_span_processor(Forward { sender, lost: Arc::clone(&lost) })
            .build();
        let end = CancellationToken::new();
        let spans = Spans { receiver, collector, name: name.into(), lost: Arc::clone(&lost) };
        let task = tokio::spawn(spans.export(end.clone()));
        Ok(Self { tracer: provider.tracer("mcpulse-proxy"), end, task, lost })
    }

    /// Makes spans that are exported once they have ended.
    pub fn tracer(&self) -> SdkTracer {
        self.tracer.clone()
    }

    /// Exports what is there, for a moment at most. Spans that end later are lost.
    pub async fn finish(self) {
        self.end.cancel();
        let _ = tokio::time::timeout(LAST_MOMENT, self.task).await;
    }

    /// Reads how many spans were dropped since the start.
    pub fn lost(&self) -> impl Fn() -> u64 + Send + Sync + use<> {
        let lost = Arc::clone(&self.lost);
        move || lost.load(Ordering::Relaxed)
    }
}

/// Takes spans that have ended to the task that exports them.
#[derive(Debug)]
struct Forward {
    sender: Sender<SpanData>,
    lost: Arc<AtomicU64>,
}

impl SpanProcessor for Forward {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.sender.try_send(span).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Everything the task owns.
struct Spans {
    receiver: Receiver<SpanData>,
    collector: Collector,
    name: Arc<str>,
    lost: Arc<AtomicU64>,
}

impl Spans {
    async fn export(mut self, end: CancellationToken) {
        let mut ending = false;
        while !ending {
            tokio::select! {
                () = sleep(FLUSH_INTERVAL) => {}
                () = end.cancelled() => ending = true,
            }
            loop {
                let mut batch = Vec::new();
                while batch.len() < BATCH
                    && let Ok(span) = self.receiver.try_recv()
                {
                    batch.push((Arc::clone(&self.name), span));
                }
                if batch.is_empty() {
                    break;
                }
                self.send(batch).await;
            }
        }
    }

    async fn send(&self, batch: Vec<(Arc<str>, SpanData)>) {
        let count = batch.len() as u64;
        let refused = match self.collector.export(batch).await {
            Ok(answer) => answer.refused.min(count),
            Err(failure) => {
                tracing::debug!("export {count} spans of the proxy: {failure:?}");
                count
            }
        };
        self.lost.fetch_add(refused, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::sink::otel::tests::{Answers, Fake, config};

    #[tokio::test]
    async fn spans_of_the_program_arrive() {
        let (fake, address) = Fake::listen(&[Answers::Take]).await;
        let own = OwnSpans::start(&config(address), "files").unwrap();
        let layer = tracing_opentelemetry::layer().with_tracer(own.tracer());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let outer = tracing::info_span!("outer").entered();
            tracing::info_span!("inner").in_scope(|| {});
            drop(outer);
        });
        assert_eq!(own.lost()(), 0);
        own.finish().await;
        let spans = fake.spans();
        let names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
        assert_eq!(names, ["inner", "outer"]);
        assert_eq!(spans[0].parent_span_id, spans[1].span_id);
    }

    #[tokio::test]
    async fn spans_beyond_the_queue_are_counted() {
        let (_, address) = Fake::listen(&[Answers::Hang]).await;
        let own = OwnSpans::start(&config(address), "files").unwrap();
        let tracer = own.tracer();
        for _ in 0..=QUEUE {
            drop(opentelemetry::trace::Tracer::start(&tracer, "span"));
        }
        assert_eq!(own.lost()(), 1);
    }
}
