//! The proxy through which a remote server is reached: a forward proxy, by its URL.

use std::{borrow::Cow, fmt};

use http::uri::{Authority, Uri};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

use super::shown::VEIL;

/// Whether a server is dialled through a forward proxy. Neither `Debug` nor `Serialize` shows
/// the login in its URL: `***` stands in its place.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Proxy {
    /// It is dialled directly.
    #[default]
    None,
    /// Through this one.
    Forward(Forward),
}

/// A forward proxy.
#[derive(Clone, PartialEq, Eq)]
pub struct Forward {
    /// What it speaks.
    pub protocol: Protocol,
    /// Its host; an IPv6 address without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// What it is told about who asks.
    pub login: Option<Login>,
}

/// What a forward proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP: `CONNECT` for servers with TLS, requests in absolute form for others.
    Http,
    /// SOCKS 5; it is the proxy that resolves names.
    Socks5,
}

/// A name and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The name.
    pub user: String,
    /// The password, which may be empty.
    pub password: String,
}

impl Proxy {
    /// What stands for no proxy.
    pub const OFF: &str = "none";
    const EXAMPLE: &str = "write e.g. http://proxy.example.com:3128, or none";
}

impl TryFrom<String> for Proxy {
    type Error = String;

    /// # Errors
    /// What is wrong with the URL, to follow the setting's name. Never shows the URL.
    fn try_from(text: String) -> Result<Self, String> {
        if text == Self::OFF {
            return Ok(Self::None);
        }
        let example = Self::EXAMPLE;
        // Without a scheme it is HTTP, as curl has it.
        let is_bare = !text.contains("://");
        let whole = if is_bare { format!("http://{text}") } else { text };
        let url: Uri = whole.parse().map_err(|error| format!("is no URL ({error}); {example}"))?;
        let (protocol, port) = match url.scheme_str() {
            Some("http") => (Protocol::Http, 80),
            Some("socks5" | "socks5h") => (Protocol::Socks5, 1080),
            Some("https") => {
                return Err("is a proxy that is itself reached by TLS, which is not supported; \
                            servers with TLS are reached through http:// proxies as well"
                    .to_owned());
            }
            _ => return Err(format!("is no http:// or socks5:// URL; {example}")),
        };
        if !matches!(url.path(), "" | "/") || url.query().is_some() {
            return Err(format!("has a path; {example}"));
        }
        let authority = url.authority().map_or("", Authority::as_str);
        let (login, bare) = match authority.rsplit_once('@') {
            Some((login, bare)) => (Some(Login::read(login)?), bare),
            None => (None, authority),
        };
        match super::kind::split_host(bare) {
            None => Err(format!("has no host, or no valid port; {example}")),
            Some((_, None)) if is_bare => Err(format!("is neither HOST:PORT nor a URL; {example}")),
            Some((_, Some(0))) => Err("has the port 0, at which nobody can be reached".to_owned()),
            Some((host, given)) => Ok(Self::Forward(Forward {
                protocol,
                host: host.trim_matches(['[', ']']).to_owned(),
                port: given.unwrap_or(port),
                login,
            })),
        }
    }
}

impl Login {
    fn read(text: &str) -> Result<Self, String> {
        let (user, password) = text.split_once(':').unwrap_or((text, ""));
        let decoded = |text| percent_decode_str(text).decode_utf8().map(Cow::into_owned);
        let is_sendable = |text: &String| text.len() < 256 && !text.contains(char::is_control);
        match (decoded(user), decoded(password)) {
            _ if text == VEIL => Err("has ***, which --print-config shows in place of a secret"),
            (Ok(user), Ok(password)) if [&user, &password].into_iter().all(is_sendable) => {
                return Ok(Self { user, password });
            }
            _ => Err("has a name or a password that no proxy could be told"),
        }
        .map_err(ToOwned::to_owned)
    }
}

impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.protocol {
            Protocol::Http => "http",
            Protocol::Socks5 => "socks5",
        };
        let login = self.login.as_ref().map(|_| format!("{VEIL}@")).unwrap_or_default();
        let (host, port) = (&self.host, self.port);
        if host.contains(':') {
            write!(f, "{scheme}://{login}[{host}]:{port}")
        } else {
            write!(f, "{scheme}://{login}{host}:{port}")
        }
    }
}

impl From<Proxy> for String {
    fn from(proxy: Proxy) -> Self {
        match proxy {
            Proxy::None => Proxy::OFF.to_owned(),
            Proxy::Forward(forward) => forward.to_string(),
        }
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from(self.clone()))
    }
}

impl fmt::Debug for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Proxy, String> {
        Proxy::try_from(text.to_owned())
    }

    #[test]
    fn proxies_are_named_as_curl_names_them() {
        for (text, shown) in [
            ("none", "none"),
            ("http://p.example:3128", "http://p.example:3128"),
            ("p.example:3128/", "http://p.example:3128"),
            ("socks5h://p", "socks5://p:1080"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("http://u%40x:hunter%3a2@p", "http://***@p:80"),
        ] {
            let read = read(text).unwrap();
            assert_eq!(format!("{read:?}"), shown);
            assert_eq!(serde_yaml::to_value(&read).unwrap(), shown);
        }
        let Proxy::Forward(forward) = read("http://u%40x:hunter%3a2@[::1]").unwrap() else {
            panic!("a proxy");
        };
        let login = forward.login.unwrap();
        assert_eq!((&*login.user, &*login.password, &*forward.host), ("u@x", "hunter:2", "::1"));
    }

    #[test]
    fn no_message_shows_the_login() {
        for text in [
            "https://u:hunter2@p",
            "ftp://u:hunter2@p",
            "http://u:hunter2@",
            "http://u:hunter2@p:0",
            "http://u:hunter2@p/path",
            "http://u:hunter2%00@p",
            "http://u:hunter2@p q",
            "http://***@p",
            // As it may be a password in the wrong place.
            "hunter2",
        ] {
            let wrong = read(text).unwrap_err();
            assert!(!wrong.contains("hunter2"), "{wrong}");
        }
    }
}
