//! Plays the kubelet for the pods of a release: runs the operator as its Deployment says, and what
//! `helm test` has in a pod.

use std::path::PathBuf;

use mcpulse_tests::program;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{cluster::Cluster, operator::Operator};

/// The pods of a release.
pub(super) struct Pods<'a> {
    cluster: &'a Cluster,
    namespace: &'a str,
    /// With what the names of its objects begin.
    name: &'a str,
}

impl<'a> Pods<'a> {
    /// Those of a release in this namespace, whose objects begin with a name.
    pub(super) fn of(cluster: &'a Cluster, namespace: &'a str, name: &'a str) -> Self {
        Self { cluster, namespace, name }
    }

    /// A file with the rights of its service account.
    async fn rights(&self) -> PathBuf {
        let account = format!("{}-operator", self.name);
        let accounts = format!("/api/v1/namespaces/{}/serviceaccounts", self.namespace);
        let wanted = json!({"spec": {"expirationSeconds": 3600}});
        let made = self.cluster.post(&format!("{accounts}/{account}/token"), &wanted).await;
        let token = made.expect("a token")["status"]["token"].as_str().map(str::to_owned);
        self.cluster.plane.kubeconfig_with(&token.expect("a token"))
    }

    /// Runs the operator with what the Deployment says.
    pub(super) async fn operator(&self) -> Operator {
        let path = format!("/apis/apps/v1/namespaces/{}/deployments", self.namespace);
        let deployment = self.cluster.get(&format!("{path}/{}-operator", self.name)).await;
        let deployment = deployment.expect("the Deployment");
        let pod = &deployment["spec"]["template"]["spec"];
        assert_eq!(pod["serviceAccountName"], format!("{}-operator", self.name));
        let words = words(&pod["containers"][0]["args"]);
        Operator::deployed(self.cluster, &self.rights().await, self.namespace, &words).await
    }

    /// Runs what the pod of `helm test` runs, once it is there; what that said.
    pub(super) async fn tested(&self) -> String {
        let rights = self.rights().await;
        let path = format!("/api/v1/namespaces/{}/pods/{}-test", self.namespace, self.name);
        let stays =
            |pod: &Value| pod["metadata"]["deletionTimestamp"].is_null().then(|| pod.clone());
        let mut pod = self.cluster.until("there is a pod of helm test", &path, stays).await;
        let mut command = Command::new(program("mcpulse-operator"));
        command.env("KUBECONFIG", rights).args(words(&pod["spec"]["containers"][0]["args"]));
        let told = command.kill_on_drop(true).output().await.expect("it runs");
        let code = told.status.code().unwrap_or(-1);
        pod["status"] = json!({
            "phase": if code == 0 { "Succeeded" } else { "Failed" },
            "containerStatuses": [{
                "name": "test", "image": "test", "imageID": "test", "ready": false,
                "restartCount": 0,
                "state": {"terminated": {"exitCode": code, "reason": "Completed"}},
            }],
        });
        pod["metadata"]["resourceVersion"].take();
        let put = self.cluster.request("PUT", &format!("{path}/status"), &pod).await;
        put.expect("the pod has ended");
        String::from_utf8_lossy(&[told.stdout, told.stderr].concat()).into_owned()
    }

    /// What `mcpulse-operator verify` says of something that is not so.
    pub(super) async fn unverified(&self, words: &[&str]) -> String {
        let mut command = Command::new(program("mcpulse-operator"));
        command.env("KUBECONFIG", self.rights().await).args(["verify", "--timeout", "0"]);
        let told = command.args(words).kill_on_drop(true).output().await.expect("it runs");
        assert!(!told.status.success(), "{words:?} goes well");
        String::from_utf8_lossy(&told.stderr).into_owned()
    }
}

fn words(list: &Value) -> Vec<&str> {
    list.as_array().expect("words").iter().map(|word| word.as_str().expect("a word")).collect()
}
