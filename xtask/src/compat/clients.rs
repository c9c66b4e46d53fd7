//! Node, and the official clients that npm installs for the two collections of cases.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::console::Console;
use crate::process::{self, ProcessError};
use crate::workspace;

/// Why the official clients cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ClientsError {
    /// There is no Node, or no npm.
    #[error("`{0}` is missing: install Node {NODE_MAJOR_MIN} or later, with npm")]
    Missing(&'static str),
    /// Node is too old.
    #[error("Node {found} is too old: install Node {NODE_MAJOR_MIN} or later")]
    TooOld {
        /// What `node --version` says.
        found: String,
    },
    /// npm could not install the packages.
    #[error("npm cannot install the packages of {}", folder.display())]
    Install {
        /// The folder of the `package.json`.
        folder: PathBuf,
        /// How npm failed.
        #[source]
        source: ProcessError,
    },
    /// A file of a collection could not be read or copied.
    #[error("cannot prepare {}", path.display())]
    Files {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Checks that there are a Node and an npm that can run the cases.
///
/// # Errors
/// [`ClientsError::Missing`], [`ClientsError::TooOld`].
pub(crate) fn node_is_usable() -> Result<(), ClientsError> {
    let found = version("node").ok_or(ClientsError::Missing("node"))?;
    let major = found.trim_start_matches('v').split('.').next().and_then(|n| n.parse().ok());
    if major.is_none_or(|major: u32| major < NODE_MAJOR_MIN) {
        return Err(ClientsError::TooOld { found });
    }
    version("npm").map(drop).ok_or(ClientsError::Missing("npm"))
}

/// Installs what the project's own cases need, unless it is there; gives their folder.
///
/// # Errors
/// [`ClientsError::Install`], [`ClientsError::Files`].
pub(crate) fn install_own(console: Console) -> Result<PathBuf, ClientsError> {
    let folder = workspace::root().join("tests").join("js");
    install(console, &folder, "package-lock.json", "ci")?;
    Ok(folder)
}

/// Copies the shared cases to the target directory, for they may be read-only, and installs what
/// they need; gives the copy's folder, or none where there are no shared cases.
///
/// # Errors
/// [`ClientsError::Install`], [`ClientsError::Files`].
pub(crate) fn install_shared(console: Console) -> Result<Option<PathBuf>, ClientsError> {
    let Some(source) = workspace::shared("tools/js-compat") else { return Ok(None) };
    let copy = workspace::target().join("js-compat");
    for part in ["lib", "cases", "run.mjs", "package.json"] {
        let (from, to) = (source.join(part), copy.join(part));
        replace(&from, &to).map_err(|error| ClientsError::Files { path: from, source: error })?;
    }
    install(console, &copy, "package.json", "install")?;
    Ok(Some(copy))
}

const NODE_MAJOR_MIN: u32 = 20;
const STAMP: &str = "node_modules/.installed-for";

/// Runs npm in the folder unless its stamp equals the list of packages that decides.
fn install(
    console: Console,
    folder: &Path,
    list: &str,
    subcommand: &str,
) -> Result<(), ClientsError> {
    let list_path = folder.join(list);
    let wanted = fs::read(&list_path)
        .map_err(|source| ClientsError::Files { path: list_path.clone(), source })?;
    let stamp = folder.join(STAMP);
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    console.line(&format!("npm {subcommand} in {}", folder.display()));
    let mut npm = Command::new("npm");
    npm.args([subcommand, "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(folder);
    process::run(console, &mut npm)
        .map_err(|source| ClientsError::Install { folder: folder.to_owned(), source })?;
    fs::write(&stamp, wanted).map_err(|source| ClientsError::Files { path: stamp, source })
}

/// Makes `to` a copy of the file or folder `from`, with nothing that `from` does not have. Copies
/// are written anew rather than with the permissions of a source that may be read-only.
fn replace(from: &Path, to: &Path) -> io::Result<()> {
    let removed = if to.is_dir() { fs::remove_dir_all(to) } else { fs::remove_file(to) };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    if from.is_dir() {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            replace(&entry.path(), &to.join(entry.file_name()))?;
        }
        return Ok(());
    }
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(to, fs::read(from)?)
}

/// What a program answers to `--version`, if it can be run at all.
fn version(program: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_what_its_source_has_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::create_dir_all(from.join("deep")).unwrap();
        fs::write(from.join("deep").join("new"), "new").unwrap();
        fs::create_dir_all(&to).unwrap();
        fs::write(to.join("old"), "old").unwrap();
        replace(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(to.join("deep").join("new")).unwrap(), "new");
        assert!(!to.join("old").exists());
    }
}
