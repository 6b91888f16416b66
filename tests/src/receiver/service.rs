//! The service of the receiver: it takes metrics in, and answers no questions about them.

use std::sync::Arc;

use mcpulse_proto::v1::{
    IngestRequest, IngestResponse, analytics_service_server::AnalyticsService,
};
use tonic::{Request, Response, Status, Streaming};

use super::State;

#[derive(Debug)]
pub(super) struct Service(pub(super) Arc<State>);

#[tonic::async_trait]
impl AnalyticsService for Service {
    async fn ingest_metrics(
        &self,
        request: Request<IngestRequest>,
    ) -> Result<Response<IngestResponse>, Status> {
        self.0.ingest(request).await
    }

    async fn ingest_metrics_stream(
        &self,
        request: Request<Streaming<IngestRequest>>,
    ) -> Result<Response<IngestResponse>, Status> {
        let (metadata, extensions, mut stream) = request.into_parts();
        let mut all = IngestRequest::default();
        while let Some(part) = stream.message().await? {
            all.metrics.extend(part.metrics);
        }
        self.0.ingest(Request::from_parts(metadata, extensions, all)).await
    }
}
