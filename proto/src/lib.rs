//! The gRPC API of MCPulse, package `mcpulse.v1`: messages, client and server.
//!
//! Wire-compatible with the MCPulse server and its SDKs; `mcpulse/v1/*.proto` is the source
//! and the documentation.

/// Package `mcpulse.v1`.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::pedantic,
    reason = "generated; what the .proto files say of a message or field is its documentation"
)]
pub mod v1 {
    tonic::include_proto!("mcpulse.v1");
}

/// The descriptors of all files, well-known types included, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("mcpulse.v1");

#[cfg(test)]
mod tests {
    use prost::Message;
    use prost_types::{FileDescriptorSet, MethodDescriptorProto};

    #[test]
    fn the_descriptors_name_the_whole_service() {
        let set = FileDescriptorSet::decode(super::FILE_DESCRIPTOR_SET).unwrap();
        let services: Vec<_> = set.file.iter().flat_map(|file| &file.service).collect();
        let [service] = services[..] else { panic!("{services:?}") };
        assert_eq!(service.name(), "AnalyticsService");
        assert_eq!(service.method.len(), 11);
        let names = |which: fn(&MethodDescriptorProto) -> bool| {
            let chosen = service.method.iter().filter(|method| which(method));
            chosen.map(MethodDescriptorProto::name).collect::<Vec<_>>()
        };
        assert_eq!(names(MethodDescriptorProto::client_streaming), ["IngestMetricsStream"]);
        assert_eq!(names(MethodDescriptorProto::server_streaming), ["StreamMetrics"]);
    }
}
