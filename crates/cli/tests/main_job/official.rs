//! The official JavaScript clients, installed beside this checkout.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::Failure;

/// Installs the packages of `tests/js` unless they are there for the present list of packages; leaves the
/// same mark as `cargo xtask compat`, which then does not repeat it.
pub(crate) fn install(folder: &Path) -> Result<(), Failure> {
    for program in ["node", "npm"] {
        let version = Command::new(program).arg("--version").stdout(Stdio::null()).status();
        if !version.is_ok_and(|status| status.success()) {
            return Err(format!("`{program}` is missing").into());
        }
    }
    let wanted = std::fs::read(folder.join("package-lock.json"))?;
    let mark = folder.join("node_modules/.installed-for");
    if std::fs::read(&mark).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    let status = Command::new("npm")
        .args(["ci", "--no-audit", "--no-fund", "--loglevel=error"])
        .current_dir(folder)
        .status()?;
    if !status.success() {
        return Err("npm cannot install the official clients".into());
    }
    Ok(std::fs::write(mark, wanted)?)
}
