//! The flags that are no settings: they say where settings come from, or what to do with them.

/// One of them.
#[derive(Debug)]
pub(super) struct Own {
    /// Without the dashes.
    pub flag: &'static str,
    /// What stands for its value in help; none for a flag without one.
    pub placeholder: Option<&'static str>,
    /// What it does, in a line.
    pub help: &'static str,
}

/// Every such flag.
pub(super) const ALL: [Own; 3] = [
    Own {
        flag: "config",
        placeholder: Some("FILE"),
        help: "mcp.json to take the server from; with run, the YAML file",
    },
    Own {
        flag: "server",
        placeholder: Some("NAME"),
        help: "Server in mcp.json; also the server id unless that is given",
    },
    Own {
        flag: "print-config",
        placeholder: None,
        help: "Show the effective configuration and where it comes from, and end",
    },
];

impl Own {
    /// Its variable.
    pub(super) fn variable(&self) -> String {
        variable(self.flag)
    }
}

/// The variable of such a flag.
pub(super) fn variable(flag: &str) -> String {
    format!("MCPULSE_PROXY_{}", flag.replace('-', "_").to_uppercase())
}
