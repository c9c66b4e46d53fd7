//! Where things are: the workspace, its target directory, and what may lie beside it.

use std::env;
use std::path::PathBuf;

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    // Cargo sets the variable when it runs this program; the path that it was built from serves
    // when the program is started directly.
    let package = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().map_or_else(|| package.clone(), PathBuf::from)
}

/// Where builds go.
pub(crate) fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A folder of the material that may lie beside the repository, if it is there.
pub(crate) fn shared(path: &str) -> Option<PathBuf> {
    let folder = root().parent()?.join("shared").join(path);
    folder.is_dir().then_some(folder)
}

/// Whether a continuous-integration machine runs this, where nothing may be skipped.
pub(crate) fn in_ci() -> bool {
    env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}
