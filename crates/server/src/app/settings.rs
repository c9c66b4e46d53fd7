//! What an app turns on beyond InstantDB, and whether it may be used.

use serde::{Deserialize, Serialize};
use serde_json::json;
use tricedb_core::tx::ValueForm;
use tricedb_protocol::{AppState, ErrorBody};

/// What an app turns on beyond InstantDB, which is off at first, and whether it may be used. Stored with
/// the app.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct AppSettings {
    /// Whether `{"$increment": 1}` and its like, in what official clients and the admin API send, are update
    /// operators. Off: they are data, as with InstantDB. Native sessions do not ask: there operators are
    /// steps of their own.
    pub operators: bool,
    /// Whether official clients and the admin API may use what InstaQL does not have: `$nin`, `$exists`,
    /// `$contains`, `$size`, and aggregates. Off: they get InstantDB's errors. Native sessions always may.
    pub extensions: bool,
    /// Whether the app may be used: as usual, for reading only, or not at all. Its sessions are told when
    /// that changes.
    pub status: AppState,
}

impl AppSettings {
    /// With what a change says, and the rest as it is.
    pub fn changed(self, change: &SettingsChange) -> Self {
        Self {
            operators: change.operators.unwrap_or(self.operators),
            extensions: change.extensions.unwrap_or(self.extensions),
            status: change.status.unwrap_or(self.status),
        }
    }

    /// Whether transactions are taken.
    pub(super) fn may_write(&self) -> Result<(), ErrorBody> {
        match self.status {
            AppState::Active => Ok(()),
            AppState::ReadOnly => Err(unavailable("app-read-only", "read-only")),
            AppState::Disabled => Err(unavailable("app-disabled", "disabled")),
        }
    }

    /// Whether queries and rooms are served.
    pub(super) fn may_read(&self) -> Result<(), ErrorBody> {
        match self.status {
            AppState::Active | AppState::ReadOnly => Ok(()),
            AppState::Disabled => Err(unavailable("app-disabled", "disabled")),
        }
    }

    /// How the values of official clients and of the admin API are read.
    pub(super) const fn value_form(&self) -> ValueForm {
        if self.operators { ValueForm::Operators } else { ValueForm::Data }
    }
}

fn unavailable(kind: &str, status: &str) -> ErrorBody {
    let message = match status {
        "disabled" => "This app is disabled.",
        _ => "This app is in read-only mode.",
    };
    ErrorBody::bad_request(kind, message, json!({ "status": status }))
}

/// A change of an app's settings: what is left out stays. A name that is no setting's is refused.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SettingsChange {
    /// See [`AppSettings::operators`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operators: Option<bool>,
    /// See [`AppSettings::extensions`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extensions: Option<bool>,
    /// See [`AppSettings::status`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<AppState>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_other_versions_are_read_and_misspelt_changes_are_refused() {
        let settings: AppSettings =
            serde_json::from_str(r#"{"operators": true, "later": 1}"#).unwrap();
        assert!(settings.operators);
        assert_eq!(serde_json::from_str::<AppSettings>("{}").unwrap(), AppSettings::default());
        assert_eq!(settings.clone().changed(&SettingsChange::default()), settings);
        let off = serde_json::from_str(r#"{"operators": false}"#).unwrap();
        assert_eq!(settings.changed(&off), AppSettings::default());
        assert!(serde_json::from_str::<SettingsChange>(r#"{"operator": true}"#).is_err());
    }
}
