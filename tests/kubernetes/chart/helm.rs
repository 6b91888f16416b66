//! Helm, of which two versions are in use: `tests/helm/build` builds both.

use std::{
    path::{Path, PathBuf},
    process::Output,
};

use mcpulse_tests::program;
use serde_json::Value;
use tokio::process::Command;

use super::{file, objects};

/// The versions of Helm that are in use.
pub(super) const MAJORS: [u8; 2] = [4, 3];

/// The kinds that the chart has of others, which a cluster may serve.
pub(super) const MONITORS: &str = "monitoring.coreos.com/v1/PodMonitor,\
     monitoring.coreos.com/v1/ServiceMonitor,monitoring.coreos.com/v1/PrometheusRule";

/// A version of Helm, and the cluster that it has to do with.
pub(super) struct Helm {
    program: PathBuf,
    kubeconfig: PathBuf,
}

impl Helm {
    /// One that asks no cluster.
    pub(super) fn alone(major: u8) -> Self {
        Self::with(major, Path::new("/dev/null"))
    }

    /// One for the cluster of this file.
    pub(super) fn with(major: u8, kubeconfig: &Path) -> Self {
        let directory = built();
        let program = directory.join(format!("helm{major}"));
        assert!(
            directory.join(format!("built{major}")).exists(),
            "there is no Helm {major} in {0}; run tests/helm/build {0}, for which Go is needed",
            directory.display()
        );
        Self { program, kubeconfig: kubeconfig.to_owned() }
    }

    /// A command of it.
    pub(super) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(words).env("KUBECONFIG", &self.kubeconfig).kill_on_drop(true);
        command
    }

    /// How a command ends.
    pub(super) async fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().await.expect("Helm runs")
    }

    /// What a command says, that ends well.
    pub(super) async fn says(&self, words: &[&str]) -> String {
        let told = self.run(words).await;
        let why = String::from_utf8_lossy(&told.stderr);
        assert!(told.status.success(), "helm {words:?}: {why}");
        String::from_utf8(told.stdout).expect("text")
    }

    /// Why a command does not end well.
    pub(super) async fn refuses(&self, words: &[&str]) -> String {
        let told = self.run(words).await;
        assert!(!told.status.success(), "helm {words:?} goes well");
        String::from_utf8(told.stderr).expect("text")
    }

    /// What the chart renders for a release of this name and namespace, where Kubernetes is of
    /// this version.
    pub(super) async fn template(&self, release: (&str, &str), words: &[&str]) -> Vec<Value> {
        objects(&self.says(&template(release, words, &chart())).await)
    }
}

/// What `tests/helm/build` makes.
pub(super) fn built() -> PathBuf {
    let target = program::directory().parent().map(|target| target.join("helm"));
    target.expect("cargo's layout")
}

/// The words by which a chart is rendered.
pub(super) fn template<'a>(
    (name, namespace): (&'a str, &'a str),
    words: &[&'a str],
    chart: &'a str,
) -> Vec<&'a str> {
    [&["template", name, chart, "--namespace", namespace], words].concat()
}

/// The folder of the chart.
pub(super) fn chart() -> String {
    file("").to_str().expect("a path that is text").to_owned()
}
