//! What can be stored at all: text without null bytes, and JSON that everybody can read back.

use serde_json::Value as Json;

use super::super::error::TxError;
use super::super::step::TxStep;
use super::Run;
use crate::value::Value;

/// Most levels of arrays and objects within each other in a value. Readers of JSON give up at 128, and a
/// value travels within a dozen levels of a message, more in nested results.
pub(crate) const DEPTH_MAX: usize = 64;

impl Run<'_> {
    /// Refuses values that cannot be stored.
    pub(super) fn check_values(&self, steps: &[TxStep]) -> Result<(), TxError> {
        for step in steps {
            if let TxStep::RuleParams { params, .. } = step {
                params.values().try_for_each(|value| check(value, DEPTH_MAX - 1))?;
            }
            match step.triple().and_then(|triple| triple.value) {
                Some(Value::String(text)) if text.contains('\0') => {
                    return Err(TxError::null_byte());
                }
                Some(Value::Json(json)) => check(json, DEPTH_MAX)?,
                _ => {}
            }
        }
        Ok(())
    }
}

/// Looks no deeper than it allows.
fn check(json: &Json, levels: usize) -> Result<(), TxError> {
    let inner = || levels.checked_sub(1).ok_or_else(|| TxError::too_deep(DEPTH_MAX));
    match json {
        Json::String(text) if text.contains('\0') => Err(TxError::null_byte()),
        Json::Array(items) => {
            let levels = inner()?;
            items.iter().try_for_each(|item| check(item, levels))
        }
        Json::Object(members) => {
            let levels = inner()?;
            members.iter().try_for_each(|(name, value)| {
                if name.contains('\0') {
                    return Err(TxError::null_byte());
                }
                check(value, levels)
            })
        }
        _ => Ok(()),
    }
}
