//! What the Kubernetes of a cluster can do, by its version.

use std::str::FromStr;

use kube::Client;

/// A minor version of Kubernetes 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(u32);

impl Version {
    /// One that can do everything.
    pub const NEWEST: Self = Self(u32::MAX);
    /// The first whose Services find the ports of sidecars by their names (kubernetes#128850).
    const FINDS_SIDECARS: Self = Self(33);
    /// The first whose kubelets start a sidecar anew when its image has changed
    /// (kubernetes#126525).
    const RESTARTS_SIDECARS: Self = Self(32);

    /// The one of this number: 30 is Kubernetes 1.30.
    pub const fn minor(number: u32) -> Self {
        Self(number)
    }

    /// The API server's.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn of(client: &Client) -> kube::Result<Self> {
        Ok(Self::read(&client.apiserver_version().await?.minor))
    }

    /// As API servers write it; some add a plus for changes of their own.
    fn read(minor: &str) -> Self {
        minor.trim_end_matches('+').parse().map_or(Self::NEWEST, Self)
    }

    /// Whether Services find the port of a sidecar by its name. Where they do not, one that
    /// leads to a name that moves from the server to the sidecar leads nowhere.
    pub fn finds_sidecars(self) -> bool {
        self >= Self::FINDS_SIDECARS
    }

    /// Whether a sidecar that runs can be given another image.
    pub fn restarts_sidecars(self) -> bool {
        self >= Self::RESTARTS_SIDECARS
    }

    /// Whether a later one can do more.
    pub(crate) fn lacks_something(self) -> bool {
        !(self.finds_sidecars() && self.restarts_sidecars())
    }
}

/// As people write it: `1.32`, `v1.32.13`.
impl FromStr for Version {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let minor = text.strip_prefix('v').unwrap_or(text).strip_prefix("1.");
        let minor = minor.and_then(|rest| rest.split('.').next()?.parse().ok());
        minor.map(Self).ok_or("write a version of Kubernetes, such as 1.32")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_as_api_servers_write_it() {
        for (written, version) in [("30", 30), ("30+", 30), ("100", 100)] {
            assert_eq!(Version::read(written), Version::minor(version), "{written}");
        }
        assert_eq!(Version::read("what?"), Version::NEWEST);
    }

    #[test]
    fn a_version_is_read_as_people_write_it() {
        for written in ["1.32", "v1.32", "v1.32.13", "1.32.13-eks-1"] {
            assert_eq!(written.parse(), Ok(Version::minor(32)), "{written}");
        }
        for wrong in ["", "32", "2.1", "1.", "v1.x", "1.32+"] {
            assert!(wrong.parse::<Version>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn nothing_is_asked_for_before_its_version() {
        let can = |minor| {
            let version = Version::minor(minor);
            (version.finds_sidecars(), version.restarts_sidecars(), version.lacks_something())
        };
        assert_eq!(can(31), (false, false, true));
        assert_eq!(can(32), (false, true, true));
        assert_eq!(can(33), (true, true, false));
    }
}
