//! What a client's library versions allow a server to send.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The package whose version decides the [`Features`].
pub const CORE_PACKAGE: &str = "@instantdb/core";

/// Library names and their versions, as a client lists them in `init`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Versions(pub BTreeMap<String, String>);

impl Versions {
    /// What these versions allow; only [`CORE_PACKAGE`] counts.
    pub fn features(&self) -> Features {
        self.0.get(CORE_PACKAGE).map_or_else(Features::default, |version| Features::of(version))
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Versions {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(k, v)| (k.into(), v.into())).collect())
    }
}

/// Parts of the protocol that clients understand from some version on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Features {
    /// Presence changes may be sent as `patch-presence`.
    pub patch_presence: bool,
    /// `refresh-ok` carries `attrs` only when they changed. Without it, every refresh carries them and is
    /// sent even if no result changed.
    pub skip_attrs: bool,
    /// A frame may hold an array of messages.
    pub batch_messages: bool,
}

impl Features {
    /// The features of a version of [`CORE_PACKAGE`]: `v1.2.3`, `1.2.3` or either with `-dev`. Anything
    /// else has none.
    pub fn of(version: &str) -> Self {
        let Some(version) = Version::parse(version) else { return Self::default() };
        Self {
            patch_presence: version > Version::release(0, 17, 5),
            skip_attrs: version > Version::release(0, 20, 4),
            batch_messages: version > Version::release(0, 22, 75),
        }
    }
}

/// Three numbers; a `-dev` build sorts just below its release.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    numbers: [u32; 3],
    is_release: bool,
}

impl Version {
    const fn release(major: u32, minor: u32, patch: u32) -> Self {
        Self { numbers: [major, minor, patch], is_release: true }
    }

    fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let (text, is_release) = match text.strip_suffix("-dev") {
            Some(rest) => (rest, false),
            None => (text, true),
        };
        let mut parts = text.split('.').map(|part| {
            // `parse` alone would take a sign.
            part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse::<u32>().ok()).flatten()
        });
        let numbers = [parts.next()??, parts.next()??, parts.next()??];
        parts.next().is_none().then_some(Self { numbers, is_release })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_begin_strictly_after_their_version() {
        let flags = |v: &str| {
            let f = Features::of(v);
            (f.patch_presence, f.skip_attrs, f.batch_messages)
        };
        assert_eq!(flags("v0.17.5"), (false, false, false));
        assert_eq!(flags("v0.17.6-dev"), (true, false, false));
        assert_eq!(flags("0.20.5"), (true, true, false));
        assert_eq!(flags("0.22.75"), (true, true, false));
        assert_eq!(flags("v1.0.67"), (true, true, true));
    }

    #[test]
    fn odd_versions_have_no_features() {
        for odd in [
            "",
            "1",
            "1.0",
            "1.0.0.0",
            "1.0.x",
            "v1.0.0-beta",
            "1.0.+1",
            "-1.0.0",
            "99999999999.0.0",
        ] {
            assert_eq!(Features::of(odd), Features::default(), "{odd}");
        }
        let other: Versions = [("flutter", "v9.0.0")].into_iter().collect();
        assert_eq!(other.features(), Features::default());
    }
}
