//! Pods that end, and pods that may do little.

use mcpulse_tests::{Client, client::Call};
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, on_cluster, sidecars_of},
    install,
    workload::{SERVICE, Workload, mcp_server},
};

/// The spec of a Job whose init container needs the network and names.
const JOB: &str = "
  template:
    metadata: {labels: {app: server}}
    spec:
      restartPolicy: Never
      initContainers:
      - name: look
        image: localhost/python:test
        command: [/usr/bin/python3, -c]
        args: ['import socket; socket.create_connection((\"mcpulse.mcpulse-system\", 50051), 30)']
      containers:
      - name: server
        image: localhost/python:test
        command: [/usr/bin/python3, -c, 'print(\"done\")']
        ports: [{name: mcp, containerPort: 8000}]
";

#[test]
fn jobs_and_those_of_a_cron_job_complete() {
    on_cluster(async |cluster: &Cluster| {
        let namespace = cluster.namespace("jobs", &[]).await;
        cluster.apply(&namespace, &mcp_server("")).await;
        cluster.rendered(&namespace, "server").await;
        let job = "{apiVersion: batch/v1, kind: Job, metadata: {name: one}}";
        let mut job: Value = serde_yaml::from_str(job).expect("YAML");
        job["spec"] = serde_yaml::from_str(JOB).expect("YAML");
        let cron = json!({
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "metadata": {"name": "yearly"},
            "spec": {"schedule": "@yearly", "jobTemplate": {"spec": job["spec"]}},
        });
        cluster.apply(&namespace, &job.to_string()).await;
        cluster.apply(&namespace, &cron.to_string()).await;
        cluster.told(&namespace, &["create", "job", "two", "--from=cronjob/yearly"]).await;
        for job in ["one", "two"] {
            let path = format!("/apis/batch/v1/namespaces/{namespace}/jobs/{job}");
            let completed = |job: &Value| (job["status"]["succeeded"] == 1).then_some(());
            cluster.until(&format!("job {job} is complete"), &path, completed).await;
        }
        let pods = cluster.pods(&namespace, "server").await;
        assert_eq!(pods.len(), 2);
        for pod in &pods {
            assert_eq!((sidecars_of(pod), &pod["status"]["phase"]), (1, &json!("Succeeded")));
        }
    });
}

#[test]
fn where_namespaces_are_restricted_and_resources_are_counted() {
    on_cluster(async |cluster: &Cluster| {
        let restricted = [("pod-security.kubernetes.io/enforce", "restricted")];
        let namespace = cluster.namespace("restricted", &restricted).await;
        let limits = "
apiVersion: v1
kind: ResourceQuota
metadata: {name: quota}
spec: {hard: {requests.cpu: '1', limits.cpu: '1', requests.memory: 1Gi, limits.memory: 1Gi}}
---
apiVersion: v1
kind: LimitRange
metadata: {name: range}
spec:
  limits:
  - type: Container
    min: {cpu: 10m, memory: 8Mi}
    max: {cpu: 500m, memory: 512Mi}
    default: {cpu: 200m, memory: 256Mi}
    defaultRequest: {cpu: 50m, memory: 64Mi}
";
        cluster.apply(&namespace, limits).await;
        cluster.apply(&namespace, &mcp_server("")).await;
        cluster.rendered(&namespace, "server").await;
        let workload = Workload {
            container: "securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: \
                        [ALL]}, readOnlyRootFilesystem: true}",
            pod: "securityContext: {runAsNonRoot: true, runAsUser: 1000660000, seccompProfile: \
                  {type: RuntimeDefault}}",
            ..Workload::new("go", "['-http', '0.0.0.0:8000']", 8000)
        };
        cluster.apply(&namespace, &format!("{workload}---{SERVICE}")).await;
        let pods = cluster.ready(&namespace, "server", 1, 1).await;
        assert_eq!(pods[0]["status"]["qosClass"], "Burstable");
        let call = Call::new("greet", json!({"name": "you"}));
        let said = cluster.call(Client::Rmcp, &cluster.url(&namespace, "/mcp").await, &call).await;
        assert_eq!(said, "Hi you");
        cluster.reported(install::NAMESPACE, &format!("{namespace}/server"), 1).await;
    });
}

#[test]
fn guaranteed_pods_stay_so() {
    on_cluster(async |cluster: &Cluster| {
        let namespace = cluster.namespace("guaranteed", &[]).await;
        cluster.apply(&namespace, &mcp_server("")).await;
        cluster.rendered(&namespace, "server").await;
        let workload = Workload {
            container: "resources: {limits: {cpu: 200m, memory: 128Mi}}",
            ..Workload::new("go", "['-http', '0.0.0.0:8000']", 8000)
        };
        cluster.apply(&namespace, &format!("{workload}---{SERVICE}")).await;
        let pods = cluster.ready(&namespace, "server", 1, 1).await;
        assert_eq!(pods[0]["status"]["qosClass"], "Guaranteed");
    });
}
