//! A real Kubernetes node: pods run, and reach each other through Services and their names.
//!
//! All of it is in a network, a mount and a process namespace of its own, whose first process ends
//! with the process of the tests. So whatever happens, the kernel ends every process of it and
//! takes its mounts, links and rules with it; only control groups have to be removed, which
//! [`leftovers`] does, called by the program `sweeper` when the tests have ended, or by the next
//! node.

use std::{
    env, fs,
    net::Ipv4Addr,
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::Mutex,
    time::Duration,
};

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Node as Registered, ServiceAccount},
};
use kube::Api;

use crate::{
    ControlPlane,
    control_plane::{self, SERVICES},
    daemon::Daemon,
    eventually, program,
};

mod files;
pub mod leftovers;
mod place;

pub use self::place::Place;

/// Longest wait for anything to be ready.
const PATIENCE: Duration = Duration::from_mins(2);
/// What it takes of this machine.
const PROGRAMS: [&str; 5] = ["containerd", "runc", "nft", "ip", "nsenter"];
/// What the node is called.
const NAME: &str = "node";
/// Its address.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 123, 0, 10);
/// The addresses of pods.
const PODS: &str = "10.244.0.0/24";
/// Where the names of Services are resolved.
const DNS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

/// A cluster of one node. It is reached only from threads that have entered its [`Place`].
#[derive(Debug)]
pub struct Node {
    plane: ControlPlane,
    place: Place,
    containerd: Mutex<Daemon>,
    _kubelet: Daemon,
    _proxy: Daemon,
    /// Ends when its input does, which is when the tests do.
    _sweeper: Child,
}

impl Node {
    /// Starts one, in a place that this thread and those of its runtime have entered.
    ///
    /// # Panics
    /// When a program is missing, with the remedy, or something is not ready in time.
    pub async fn start(place: Place) -> Self {
        let plane = ControlPlane::start_at(ADDRESS).await.with_controllers().with_scheduler();
        let sweeper = sweeper(&place, &plane.path(""));
        configure_containerd(&plane);
        let containerd = Mutex::new(containerd(&place, &plane));
        listens(&place).await;
        let [kubelet, proxy] = [kubelet(&place, &plane), kube_proxy(&place, &plane)];
        let node =
            Self { plane, place, containerd, _kubelet: kubelet, _proxy: proxy, _sweeper: sweeper };
        node.load("pause");
        node.load("coredns");
        node.ready().await;
        node.resolve_names().await;
        node
    }

    /// Waits until it takes pods.
    async fn ready(&self) {
        let nodes = Api::<Registered>::all(self.plane.client());
        let is_ready = async || {
            let conditions = nodes.get_opt(NAME).await.ok()??.status?.conditions?;
            let ready = conditions.iter().find(|condition| condition.type_ == "Ready")?;
            (ready.status == "True").then_some(())
        };
        eventually("the node is ready", PATIENCE, is_ready).await;
        let accounts = Api::<ServiceAccount>::namespaced(self.plane.client(), "default");
        let made = async || accounts.get_opt("default").await.ok().flatten();
        eventually("pods may be made", PATIENCE, made).await;
    }

    /// Starts what resolves the names of Services, and waits until it does.
    async fn resolve_names(&self) {
        let mut kubectl = Command::new(self.plane.kubectl());
        kubectl.arg("--kubeconfig").arg(self.plane.kubeconfig());
        let manifest = crate::tools::source("kube/coredns/coredns.yaml");
        let told = kubectl.args(["apply", "-f", &manifest]).output();
        expect_success("applying coredns.yaml", &told.expect("kubectl runs"));
        let deployments = Api::<Deployment>::namespaced(self.plane.client(), "kube-system");
        let is_ready = async || {
            let status = deployments.get_opt("coredns").await.ok()??.status?;
            (status.ready_replicas? > 0).then_some(())
        };
        eventually("names are resolved", PATIENCE, is_ready).await;
    }

    /// Its API server and all that belongs to it.
    pub fn plane(&self) -> &ControlPlane {
        &self.plane
    }

    /// Where it is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Keeps its logs beyond the end, and says where they are.
    pub fn keep_logs(&self) {
        let directory = self.plane.path("");
        let kept = fs::write(directory.join(leftovers::FAILED), "");
        kept.expect("a file beside the logs");
        eprintln!("--- the logs of the node are in {}", directory.display());
    }

    /// Kills the API server, starts it again and waits for it.
    pub async fn restart_api(&self) {
        self.plane.restart_api();
        self.plane.ready().await;
    }

    /// Kills containerd, starts it again and waits for it.
    pub async fn restart_containerd(&self) {
        {
            let mut containerd = self.containerd.lock().expect("nobody panicked");
            containerd.end();
            *containerd = self::containerd(&self.place, &self.plane);
        }
        listens(&self.place).await;
    }

    /// Gives it an image that `tests/images/build` made: `localhost/NAME:test`.
    ///
    /// # Panics
    /// When that is missing, or it does not take it.
    pub fn load(&self, name: &str) {
        let target = program::directory().parent().map(Path::to_owned).expect("cargo's layout");
        let archive = target.join(format!("images/{name}.tar"));
        assert!(archive.exists(), "there is no {}; run tests/images/build", archive.display());
        let told = self.ctr().args(["images", "import"]).arg(&archive).output();
        expect_success(&format!("loading {}", archive.display()), &told.expect("ctr runs"));
    }

    /// Gives one of these another name.
    ///
    /// # Panics
    /// When it is not there.
    pub fn tag(&self, name: &str, other: &str) {
        let image = format!("localhost/{name}:test");
        let told = self.ctr().args(["images", "tag", "--force", &image, other]).output();
        expect_success(&format!("naming {image} {other}"), &told.expect("ctr runs"));
    }

    /// The client of containerd.
    fn ctr(&self) -> Command {
        let mut ctr = Command::new("ctr");
        ctr.arg("--address").arg(self.place.path(files::SOCKET)).args(["-n", "k8s.io"]);
        ctr
    }
}

/// Waits until containerd can be asked.
async fn listens(place: &Place) {
    let socket = place.path(files::SOCKET);
    let answers = async || std::os::unix::net::UnixStream::connect(&socket).ok();
    eventually("containerd listens", PATIENCE, answers).await;
}

/// What there is not of what a node takes, and the remedy.
pub fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("a cluster of one's own takes root".to_owned());
    }
    if !control_plane::programs().join("kubelet").exists() {
        return Some("there is no kubelet beside kube-apiserver".to_owned());
    }
    let there = |program: &str| {
        let path = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&path).any(|directory| directory.join(program).exists())
    };
    let absent = PROGRAMS.iter().find(|program| !there(program));
    absent.map(|program| format!("{program} is not installed (tests/kube/install does it)"))
}

fn expect_success(what: &str, told: &Output) {
    assert!(told.status.success(), "{what}: {}", String::from_utf8_lossy(&told.stderr));
}

/// Starts what removes what the kernel leaves.
fn sweeper(place: &Place, directory: &Path) -> Child {
    let mut sweeper = Command::new(program::program("sweeper"));
    sweeper.arg(place.cgroup()).arg(directory).stdin(Stdio::piped());
    // A signal from the terminal is for the tests.
    std::os::unix::process::CommandExt::process_group(&mut sweeper, 0);
    sweeper.spawn().expect("the sweeper starts")
}

fn configure_containerd(plane: &ControlPlane) {
    let cni = plane.path("cni");
    fs::create_dir(&cni).expect("a directory");
    fs::write(cni.join("10-bridge.conflist"), files::cni(PODS)).expect("a file");
    fs::write(plane.path("containerd.toml"), files::containerd(&cni)).expect("a file");
}

fn containerd(place: &Place, plane: &ControlPlane) -> Daemon {
    let args = vec![format!("--config={}", plane.path("containerd.toml").display())];
    place.start(Path::new("containerd"), args, &plane.path("containerd.log"))
}

fn kubelet(place: &Place, plane: &ControlPlane) -> Daemon {
    let config = plane.path("kubelet.yaml");
    fs::write(&config, files::kubelet(place.cgroup(), DNS)).expect("a file");
    let kubeconfig = plane.kubeconfig_with("system:node:node");
    let args = vec![
        format!("--config={}", config.display()),
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--hostname-override={NAME}"),
        format!("--node-ip={ADDRESS}"),
    ];
    place.start(&plane.program("kubelet"), args, &plane.path("kubelet.log"))
}

fn kube_proxy(place: &Place, plane: &ControlPlane) -> Daemon {
    let kubeconfig = plane.kubeconfig_with("system:kube-proxy");
    let args = vec![
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--hostname-override={NAME}"),
        format!("--cluster-cidr={PODS}"),
        "--proxy-mode=nftables".to_owned(),
        // None of these may be changed without rights over the machine.
        "--oom-score-adj=0".to_owned(),
        "--conntrack-max-per-core=0".to_owned(),
        "--conntrack-tcp-timeout-established=0".to_owned(),
        "--conntrack-tcp-timeout-close-wait=0".to_owned(),
    ];
    place.start(&plane.program("kube-proxy"), args, &plane.path("kube-proxy.log"))
}

/// The commands that set up the network of a place; what is not in it is not reached from it.
fn network() -> String {
    format!(
        "ip link set lo up
         ip link add node0 type veth peer name node1
         ip addr add {ADDRESS}/24 dev node0
         ip link set node0 up
         ip link set node1 up
         ip route add {SERVICES} dev node0 src {ADDRESS}
         sysctl -qw net.ipv4.ip_forward=1
         echo nameserver {DNS} >/run/resolv.conf
         mount --bind /run/resolv.conf /etc/resolv.conf"
    )
}
