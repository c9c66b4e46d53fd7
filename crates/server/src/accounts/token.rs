//! Admin tokens: secrets, of which only hashes are kept.

use std::fmt;

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// The secret that gives all rights on an app: a random UUID.
#[derive(Clone, PartialEq, Eq)]
pub struct AdminToken(String);

impl AdminToken {
    pub(super) fn generate() -> Self {
        Self(Uuid::new_v4().to_string())
    }

    /// The secret as text, for whoever it belongs to.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    pub(super) fn hash(&self) -> TokenHash {
        TokenHash::of(&self.0)
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken(…)")
    }
}

/// The SHA-256 of an admin token's canonical text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TokenHash(pub(crate) [u8; 32]);

impl TokenHash {
    fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// Whether this is the hash of a token. Takes the same time wherever they differ.
    pub(crate) fn matches(&self, token: &str) -> bool {
        let given = Self::of(&token.to_ascii_lowercase());
        let difference = self.0.iter().zip(given.0).fold(0, |sum, (a, b)| sum | (a ^ b));
        std::hint::black_box(difference) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_itself_matches_and_is_never_shown() {
        let (token, other) = (AdminToken::generate(), AdminToken::generate());
        assert!(token.hash().matches(token.reveal()));
        assert!(token.hash().matches(&token.reveal().to_uppercase()));
        assert!(!token.hash().matches(other.reveal()));
        assert!(!token.hash().matches(""));
        assert!(!format!("{token:?}").contains(token.reveal()));
    }
}
