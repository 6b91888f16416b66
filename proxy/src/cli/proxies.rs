//! What the variables that all programs share say about the way to a remote server:
//! `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, as curl reads them.

use std::net::{IpAddr, Ipv4Addr};

use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;

use super::{
    Environment,
    layer::{Given, Source},
};
use crate::config::setting::Setting;

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

/// Names of this machine in the hosts files of common systems. Others that lead to it are not
/// known without a resolver, which is not asked.
const OWN_NAMES: [&str; 5] =
    ["localhost", "localhost.localdomain", "localhost6", "ip6-localhost", "ip6-loopback"];

/// Whether a server is dialled directly whatever the proxy: this machine itself, by an address
/// or one of the usual names, and what `NO_PROXY` lists.
fn is_spared(environment: &Environment, url: &Uri) -> bool {
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    let address = address(&name);
    let is_own = match address {
        // To dial the unspecified address is to dial this machine.
        Some(address) => address.is_loopback() || address.is_unspecified(),
        None => OWN_NAMES.contains(&&*name) || name.ends_with(".localhost"),
    };
    if is_own {
        return true;
    }
    let list = ["no_proxy", "NO_PROXY"].into_iter().find_map(|name| environment.get(name));
    let Some(list) = list else { return false };
    let default = if url.scheme_str() == Some("https") { 443 } else { 80 };
    let port = url.port_u16().unwrap_or(default);
    // The library knows suffixes and networks, but no ports.
    let of_port = |entry: &str| {
        let (host, its) = split_entry(entry);
        let host = host.trim_matches(['[', ']']).trim_start_matches("*.").trim_end_matches('.');
        its.is_none_or(|its| its == port).then(|| host.to_owned())
    };
    let entries = list.split([',', ' ']).map(str::trim).filter(|entry| !entry.is_empty());
    let entries: Vec<_> = entries.filter_map(of_port).collect();
    let proxied = Matcher::builder().all("http://proxy").no(entries.join(",")).build();
    let target = Uri::builder().scheme("http").path_and_query("/");
    let bare = match address {
        Some(IpAddr::V6(address)) => format!("[{address}]"),
        Some(IpAddr::V4(address)) => address.to_string(),
        None => name,
    };
    target.authority(bare).build().is_ok_and(|target| proxied.intercept(&target).is_none())
}

/// An entry of `NO_PROXY`, which may be a network, and its port.
fn split_entry(entry: &str) -> (&str, Option<u16>) {
    match entry.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (entry, None),
        },
        _ => (entry, None),
    }
}

/// An address in any spelling that resolvers take for one: `127.1` is 127.0.0.1 (`inet_aton`).
fn address(host: &str) -> Option<IpAddr> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    let numbers: Vec<u32> = host.split('.').map(number).collect::<Option<_>>()?;
    let (last, bytes) = numbers.split_last()?;
    if bytes.len() > 3 || bytes.iter().any(|byte| *byte > 255) {
        return None;
    }
    // The last one fills what the others leave.
    let high = bytes.iter().fold(0_u64, |high, byte| high << 8 | u64::from(*byte));
    let room = 32 - 8 * bytes.len();
    let last = u64::from(*last);
    if last >> room != 0 {
        return None;
    }
    u32::try_from(high << room | last).ok().map(|bits| Ipv4Addr::from_bits(bits).into())
}

/// A number as C writes them: decimal, octal after `0`, hexadecimal after `0x`.
fn number(text: &str) -> Option<u32> {
    let (digits, radix) = match (text.strip_prefix("0x"), text.strip_prefix('0')) {
        (Some(digits), _) => (digits, 16),
        (None, Some(digits)) if !digits.is_empty() => (digits, 8),
        _ => (text, 10),
    };
    let all = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    all.then(|| u32::from_str_radix(digits, radix).ok())?
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
            ("[fd00::1]", "[fd00::1]", true),
            ("10.0.0.0/8:8080", "10.1.2.3:8080", true),
            ("10.0.0.0/8:8080", "10.1.2.3", false),
            ("10.0.0.0/8", "0xa.1.515", true),
            ("a.example.", "b.a.example", true),
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
        let own = "localhost LOCALHOST. mcp.localhost 127.0.0.1:8080 127.9.9.9 [::1] 127.1 0x7f.1 \
                   0177.0.1 2130706433 0 0.0.0.0 [::] [::ffff:127.0.0.1] ip6-localhost \
                   localhost.localdomain";
        let other = "128.1 127.example 1.2.3.4.5 127.0.0.256 4294967296 localhost.example +127.1";
        for (hosts, direct) in [(own, true), (other, false)] {
            for host in hosts.split_ascii_whitespace() {
                let Ok(url) = format!("https://{host}/mcp").parse::<Uri>() else { continue };
                let proxied = chosen(&url.to_string(), &[("ALL_PROXY", "p:1")]).is_some();
                assert_eq!(proxied, !direct, "{host}");
            }
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
