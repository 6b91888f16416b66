//! The backstop against configurations that start each other for ever: what a file starts
//! inherits which file and server that was, and a proxy that finds its own there refuses.

use std::path::Path;

use super::Environment;

/// The variable by which the servers below a proxy know what started them. It has no prefix of
/// the proxy's own: those do not reach a server.
pub const VARIABLE: &str = "MCPULSE_STARTED_BY";

/// The value of [`VARIABLE`] for what this server of this file starts.
///
/// # Errors
/// When this server of this file is what started this process, directly or through others.
pub(super) fn extended(
    path: &Path,
    server: Option<&str>,
    environment: &Environment,
) -> Result<String, String> {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let own = match server {
        Some(server) => format!("{server} in {}", path.display()),
        None => path.display().to_string(),
    };
    // Whatever else somebody put there is none of ours.
    let mut chain: Vec<String> = environment
        .get(VARIABLE)
        .and_then(|chain| serde_json::from_str(chain).ok())
        .unwrap_or_default();
    if chain.contains(&own) {
        chain.push(own);
        return Err(format!(
            "this would start itself for ever: {}; give --config a copy of the file that has the \
             server's own command (or, if nothing turns round here, unset {VARIABLE})",
            chain.join(" starts ")
        ));
    }
    chain.push(own);
    Ok(serde_json::Value::from(chain).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(chain: &str) -> Environment {
        Environment { variables: [(VARIABLE.to_owned(), chain.to_owned())].into(), program: None }
    }

    #[test]
    fn who_started_this_is_known_and_never_started_again() {
        let (a, b) = (Path::new("/no/a.json"), Path::new("/no/b.yaml"));
        let first = extended(a, Some("x"), &Environment::default()).unwrap();
        let second = extended(b, None, &environment(&first)).unwrap();
        assert_eq!(second, r#"["x in /no/a.json","/no/b.yaml"]"#);
        assert!(extended(a, Some("other"), &environment(&second)).is_ok());
        let refused = extended(a, Some("x"), &environment(&second)).unwrap_err();
        assert!(
            refused.contains("x in /no/a.json starts /no/b.yaml starts x in /no/a.json"),
            "{refused}"
        );
        assert!(extended(a, Some("x"), &environment("nonsense")).is_ok());
    }
}
