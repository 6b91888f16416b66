//! The harness itself: pods run, and nothing is left of it, even if it is killed.

use std::{
    collections::BTreeSet,
    env, fs,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use mcpulse_tests::{
    Node, eventually,
    node::{Place, leftovers},
};

use crate::cluster::{Cluster, PATIENCE, on_cluster, runtime};

/// What a run that is to be killed says when its pod runs.
const UP: &str = "the pod of this run is up";
/// Tells its processes from those of others.
const MARK: &str = "MCPULSE_TESTS_RUN";

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: pause, labels: {app: pause}}
spec: {containers: [{name: pause, image: 'localhost/pause:test'}]}
";

#[test]
fn pods_run() {
    on_cluster(async |cluster: &Cluster| {
        let namespace = cluster.namespace("pods", &[]).await;
        cluster.apply(&namespace, POD).await;
        cluster.ready(&namespace, "pause", 1, 0).await;
    });
}

#[test]
#[ignore = "the test below runs this one, and kills it"]
fn a_run_to_be_killed() {
    let place = Place::make();
    place.enter().expect("the place is there");
    runtime().block_on(async {
        let cluster = Cluster { node: Node::start(place).await, tools: None };
        cluster.apply("default", POD).await;
        cluster.ready("default", "pause", 1, 0).await;
        eprintln!("{UP}");
        std::future::pending::<()>().await;
    });
}

#[test]
fn nothing_is_left_of_a_run_that_is_killed() {
    on_cluster(async |_: &Cluster| {
        let before = outside();
        let mut run = Command::new(env::current_exe().expect("this program"));
        run.args(["--ignored", "--exact", "node::a_run_to_be_killed", "--nocapture"]);
        let mut run = run.env(MARK, "killed").stderr(Stdio::piped()).spawn().expect("it runs");
        let said = BufReader::new(run.stderr.take().expect("it is piped"));
        let mut lines = said.lines().map_while(Result::ok);
        assert!(lines.any(|line| line == UP), "it has ended");
        let group = leftovers::name(run.id());
        assert!(!leftovers::all(&group).is_empty());
        assert!(marked().len() > 5, "{:?}", marked());
        run.kill().expect("it is killed");
        run.wait().expect("it ends");
        eventually("its processes and control groups are gone", PATIENCE, async || {
            (marked().is_empty() && leftovers::all(&group).is_empty()).then_some(())
        })
        .await;
        assert_eq!(outside(), before);
    });
}

#[test]
fn what_a_killed_run_leaves_the_next_one_removes() {
    on_cluster(async |_: &Cluster| {
        let mut gone = Command::new("true").spawn().expect("it runs");
        gone.wait().expect("it ends");
        let group = leftovers::name(gone.id());
        leftovers::make(&group);
        leftovers::remove_orphans();
        assert!(leftovers::all(&group).is_empty());
        assert!(!leftovers::all(&leftovers::name(std::process::id())).is_empty(), "ours is there");
    });
}

/// What of the network and the mounts of this machine anybody sees.
fn outside() -> [BTreeSet<String>; 2] {
    ["/proc/1/net/dev", "/proc/1/mounts"].map(|file| {
        let text = fs::read_to_string(file).expect("Linux tells");
        let first = |line: &str| line.split(':').next().unwrap_or_default().to_owned();
        text.lines().skip(2).map(first).collect()
    })
}

/// The processes of a run that is to be killed.
fn marked() -> Vec<String> {
    let processes = fs::read_dir("/proc").expect("Linux tells").flatten();
    let has_mark = |environment: &Vec<u8>| {
        let mark = format!("{MARK}=killed");
        environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
    };
    let marked = processes.filter(|process| {
        fs::read(process.path().join("environ")).is_ok_and(|environment| has_mark(&environment))
    });
    marked.map(|process| process.file_name().to_string_lossy().into_owned()).collect()
}
