//! Why a pod stays as it is.

/// Why a pod stays as it is, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Skip {
    /// The sidecar is there.
    #[error("the pod carries the sidecar already")]
    AlreadyInjected,
    /// The pod says that it wants none.
    #[error("the pod opts out by mcpulse.io/inject: disabled; take that away to inject it")]
    OptedOut,
    /// All pods of the node share the sidecar's ports.
    #[error("the pod is on the host's network, where the sidecar's ports would be the node's")]
    HostNetwork,
    /// There is no sidecar for it.
    #[error("the pod is for Windows, for which there is no sidecar")]
    Windows,
    /// It is not clear which container is the server.
    #[error("{0}; write the name of the one that is the server in spec.container")]
    NoMatchingContainer(String),
    /// The container has no such port.
    #[error(
        "container {container} declares no port {port}{why}; declare it, or correct \
         spec.transport.http.port"
    )]
    PortNotFound {
        /// The container.
        container: String,
        /// The port that was looked for.
        port: String,
        /// What else is wrong with it.
        why: &'static str,
    },
    /// A port that the sidecar needs is taken.
    #[error("{0}")]
    PortCollision(String),
    /// A name that the sidecar needs is taken.
    #[error("the pod has {0} of its own, whose name the sidecar needs; rename it")]
    NameTaken(String),
    /// A path that the sidecar needs is taken.
    #[error("container {container} mounts something at {path} already; mount it elsewhere")]
    MountTaken {
        /// The container.
        container: String,
        /// The path.
        path: String,
    },
    /// What starts the server is not known.
    #[error("{0}")]
    CommandUnknown(String),
    /// The pod's budget has no room for a sidecar.
    #[error(
        "the pod has resources of its own (spec.resources), which the sidecar would share; give \
         them to its containers instead"
    )]
    PodResources,
    /// A LimitRange leaves no room for the sidecar.
    #[error(
        "{0} may have by a LimitRange of the namespace; write other resources in \
         spec.proxy.resources, or change the LimitRange"
    )]
    Limits(String),
    /// The API server cannot change it.
    #[error("the pod is the mirror of a static pod, which only its node can change")]
    MirrorPod,
}

impl Skip {
    /// The reason in one word.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::AlreadyInjected => "AlreadyInjected",
            Self::OptedOut => "OptedOut",
            Self::HostNetwork => "HostNetwork",
            Self::Windows => "Windows",
            Self::NoMatchingContainer(_) => "NoMatchingContainer",
            Self::PortNotFound { .. } => "PortNotFound",
            Self::PortCollision(_) => "PortCollision",
            Self::NameTaken(_) => "NameTaken",
            Self::MountTaken { .. } => "MountTaken",
            Self::CommandUnknown(_) => "CommandUnknown",
            Self::PodResources => "PodResources",
            Self::Limits(_) => "Limits",
            Self::MirrorPod => "MirrorPod",
        }
    }
}
