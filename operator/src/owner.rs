//! What the Lease and the Secret of a release belong to: its Deployment, with which they end.

use k8s_openapi::{api::apps::v1::Deployment, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{Api, Client, Resource};

use crate::{answer, release::Release};

/// The Deployment of a release; none where the operator runs as something else.
///
/// It is asked for once, at the start: what is made later, while the release is being taken away,
/// names a Deployment that is gone then, and is collected as well.
pub async fn find(client: Client, release: &Release) -> Option<OwnerReference> {
    let name = release.operator();
    let deployments = Api::<Deployment>::namespaced(client, &release.namespace);
    match deployments.get_opt(&name).await {
        // Only by `controller` would it claim to see to them.
        Ok(found) => found.and_then(|it| it.owner_ref(&())),
        Err(error) => {
            let why = answer::why(&error);
            tracing::warn!("read Deployment {name}: {why}; what is made stays when it is deleted");
            None
        }
    }
}
