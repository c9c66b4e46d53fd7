//! InstantDB's schema JSON.
