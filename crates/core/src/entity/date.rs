//! Instants as values.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value as Json;

use crate::value::Value;

/// An instant, in milliseconds since 1970: the value of an attribute of type `date`.
///
/// Written as a number; read from a number or from any text that such an attribute takes.
///
/// ```
/// use tricedb_core::entity::Date;
///
/// let read: Date = serde_json::from_str("\"2026-11-24T12:00:00Z\"")?;
/// assert_eq!(read, Date::from_millis(1_795_521_600_000));
/// assert_eq!(serde_json::to_string(&read)?, "1795521600000");
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Date(i64);

impl Date {
    /// So many milliseconds after the beginning of 1970, UTC.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the beginning of 1970, UTC.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// The system's form; `None` if that cannot represent it.
    pub fn to_system_time(self) -> Option<SystemTime> {
        let distance = Duration::from_millis(self.0.unsigned_abs());
        if self.0 < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) }
    }
}

/// Fractions of a millisecond are cut off.
impl From<SystemTime> for Date {
    fn from(time: SystemTime) -> Self {
        let millis = |distance: Duration| i64::try_from(distance.as_millis()).unwrap_or(i64::MAX);
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self(millis(after)),
            Err(before) => Self(-millis(before.duration())),
        }
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

impl Serialize for Date {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Date {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Json::deserialize(deserializer)?;
        let read = crate::date::instant_ms(&Value::from_json(json.clone()));
        read.map(Self).ok_or_else(|| de::Error::custom(format_args!("{json} is no date")))
    }
}
