//! `tricedb demo` as a program: it converges, says so, and ends.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value as Json;

fn demo() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tricedb"));
    command.arg("demo").stdin(Stdio::null());
    command
}

#[test]
fn the_demo_converges_and_tells_the_times() {
    let output = demo().output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("converged: three clients and the server hold the same"), "{text}");
    assert!(!text.contains('\x1b'), "no colours where nobody looks: {text}");
}

#[test]
fn with_serve_the_server_stays_until_it_is_told_to_end() {
    let mut child = demo()
        .args(["--serve", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let result: Json = serde_json::from_str(&line).unwrap();
    assert_eq!(result["converged"], true);
    assert_eq!((&result["clients"], &result["todos"]), (&3.into(), &5.into()));
    let address = result["http_url"].as_str().unwrap().strip_prefix("http://").unwrap();
    std::net::TcpStream::connect(address).unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
}
