//! What the variables that all programs share say about the way to a remote server:
//! `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, as curl reads them.

use std::net::IpAddr;

use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;

use super::{
    Environment,
    layer::{Given, Source},
};
use crate::config::{kind::split_host, setting::Setting};

/// The proxy to the remote server among `givens`; none where somebody has said which, or none.
pub(super) fn given(environment: &Environment, givens: &[Given]) -> Option<Given> {
    let setting = Setting::with_flag("proxy")?;
    if givens.iter().any(|given| given.setting.key == setting.key) {
        return None;
    }
    let url = givens.iter().filter(|given| given.setting.flag == "remote-url");
    let url = url.max_by_key(|given| given.source.rank())?;
    let url: Uri = url.value.as_ref().ok()?.as_str()?.parse().ok()?;
    let name = of_scheme(environment, url.scheme_str()?)?;
    if is_spared(environment, &url) {
        return None;
    }
    let value = setting.kind.parse(environment.get(name)?);
    let value = value.map_err(|wrong| {
        format!("{wrong}; to do without a proxy, add this host to NO_PROXY or use --proxy none")
    });
    Some(Given { setting, value, source: Source::Variable(name.to_owned()) })
}

/// The variable that names the proxy for URLs of this scheme.
fn of_scheme(environment: &Environment, scheme: &str) -> Option<&'static str> {
    let names: &[&str] = match scheme {
        "https" => &["https_proxy", "HTTPS_PROXY"],
        // To a CGI program this is a header of the request: `Proxy`.
        _ if environment.get("REQUEST_METHOD").is_some() => &["http_proxy"],
        _ => &["http_proxy", "HTTP_PROXY"],
    };
    let all = ["all_proxy", "ALL_PROXY"];
    names.iter().copied().chain(all).find(|name| environment.get(name).is_some())
}

/// Whether a server is dialled directly whatever the proxy: this machine itself, and what
/// `NO_PROXY` lists.
fn is_spared(environment: &Environment, url: &Uri) -> bool {
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    let is_loopback = match host.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => name == "localhost" || name.ends_with(".localhost"),
    };
    if is_loopback {
        return true;
    }
    let list = ["no_proxy", "NO_PROXY"].into_iter().find_map(|name| environment.get(name));
    let Some(list) = list else { return false };
    let default = if url.scheme_str() == Some("https") { 443 } else { 80 };
    let port = url.port_u16().unwrap_or(default);
    // The library knows suffixes and networks, but no ports.
    let of_port = |entry: &str| match split_host(entry) {
        Some((host, Some(its))) => (its == port).then(|| host.trim_matches(['[', ']']).to_owned()),
        _ => Some(entry.trim_start_matches("*.").to_owned()),
    };
    let entries = list.split([',', ' ']).map(str::trim).filter(|entry| !entry.is_empty());
    let entries: Vec<_> = entries.filter_map(of_port).collect();
    let proxied = Matcher::builder().all("http://proxy").no(entries.join(",")).build();
    let target = Uri::builder().scheme("http").path_and_query("/");
    let bare = if name.contains(':') { format!("[{name}]") } else { name };
    target.authority(bare).build().is_ok_and(|target| proxied.intercept(&target).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        let variables = variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
        Environment { variables: variables.collect(), program: None }
    }

    fn url(text: &str) -> Given {
        let setting = Setting::with_flag("remote-url").unwrap();
        Given { setting, value: Ok(text.into()), source: Source::Flag("--remote-url".to_owned()) }
    }

    /// The variable that counts for a URL.
    fn chosen(to: &str, variables: &[(&str, &str)]) -> Option<String> {
        let given = given(&environment(variables), &[url(to)])?;
        Some(given.source.to_string().trim_start_matches("variable ").to_owned())
    }

    #[test]
    fn the_variable_of_the_scheme_counts_before_that_of_all() {
        let p = "http://p:3128";
        let all = [("ALL_PROXY", p), ("HTTPS_PROXY", p), ("HTTP_PROXY", p)];
        assert_eq!(chosen("https://a/mcp", &all).as_deref(), Some("HTTPS_PROXY"));
        assert_eq!(chosen("http://a/mcp", &all).as_deref(), Some("HTTP_PROXY"));
        assert_eq!(chosen("http://a/mcp", &all[..2]).as_deref(), Some("ALL_PROXY"));
        assert_eq!(chosen("http://a/mcp", &[("HTTPS_PROXY", p)]), None);
        let both = [("HTTP_PROXY", p), ("http_proxy", p)];
        assert_eq!(chosen("http://a/mcp", &both).as_deref(), Some("http_proxy"));
        let cgi = [("HTTP_PROXY", p), ("REQUEST_METHOD", "GET")];
        assert_eq!(chosen("http://a/mcp", &cgi), None);
        assert_eq!(chosen("https://a/mcp", &[("HTTPS_PROXY", "")]), None);
    }

    #[test]
    fn no_proxy_spares_names_networks_and_ports() {
        for (list, host, spared) in [
            ("", "a.example", false),
            ("*", "a.example", true),
            ("a.example", "a.example", true),
            ("a.example", "A.Example.", true),
            ("a.example", "b.a.example", true),
            (".a.example", "b.a.example", true),
            ("*.a.example", "b.a.example", true),
            ("a.example", "ba.example", false),
            ("b.example, a.example", "a.example", true),
            ("b.example a.example", "a.example", true),
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "11.1.2.3", false),
            ("10.1.2.3", "10.1.2.3:8080", true),
            ("fd00::/8", "[fd00::1]", true),
            ("[fd00::1]:443", "[fd00::1]", true),
            ("fd00::/8", "[fe00::1]", false),
            ("a.example:443", "a.example", true),
            ("a.example:443", "a.example:8443", false),
            ("a.example:8443", "b.a.example:8443", true),
        ] {
            let variables = [("HTTPS_PROXY", "p:1"), ("NO_PROXY", list)];
            let direct = chosen(&format!("https://{host}/mcp"), &variables).is_none();
            assert_eq!(direct, spared, "{list} {host}");
        }
    }

    #[test]
    fn this_machine_is_never_reached_by_way_of_another() {
        for host in
            ["localhost", "LOCALHOST.", "mcp.localhost", "127.0.0.1:8080", "127.9.9.9", "[::1]"]
        {
            assert_eq!(chosen(&format!("https://{host}/mcp"), &[("ALL_PROXY", "p:1")]), None);
        }
    }

    #[test]
    fn who_says_which_proxy_is_heard_and_a_useless_one_is_not_passed_over() {
        let variables = environment(&[("ALL_PROXY", "https://u:hunter2@p")]);
        let wrong = given(&variables, &[url("https://a")]).unwrap().value.unwrap_err();
        assert!(wrong.contains("--proxy none") && !wrong.contains("hunter2"), "{wrong}");
        let setting = Setting::with_flag("proxy").unwrap();
        let off =
            Given { setting, value: Ok("none".into()), source: Source::File("f".into(), None) };
        assert!(given(&variables, &[url("https://a"), off]).is_none());
    }
}
