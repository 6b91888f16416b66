//! The program starts and knows its name. That cargo builds it for this test is what lets
//! the end-to-end tests, in a package of their own, find it up to date.

use std::process::Command;

#[test]
fn it_says_its_version() {
    let output = Command::new(env!("CARGO_BIN_EXE_mcpulse-proxy")).arg("--version").output();
    let output = output.expect("the program starts");
    assert!(output.status.success(), "{output:?}");
    let version = format!("mcpulse-proxy {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8_lossy(&output.stdout), version);
}
