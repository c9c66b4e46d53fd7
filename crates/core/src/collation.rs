//! The order of strings: Unicode root collation (ICU `en-US`), then code points.

use std::cmp::Ordering;
use std::sync::OnceLock;

use icu_collator::options::CollatorOptions;
use icu_collator::{CollatorBorrowed, CollatorPreferences};

fn collator() -> Option<&'static CollatorBorrowed<'static>> {
    static COLLATOR: OnceLock<Option<CollatorBorrowed<'static>>> = OnceLock::new();
    COLLATOR
        // The data of the root collation is compiled in. Should it ever be missing, code points decide.
        .get_or_init(|| {
            CollatorBorrowed::try_new(CollatorPreferences::default(), CollatorOptions::default())
                .ok()
        })
        .as_ref()
}

/// Orders two strings.
pub fn compare(a: &str, b: &str) -> Ordering {
    collator().map_or(Ordering::Equal, |c| c.compare(a, b)).then_with(|| a.cmp(b))
}

/// Bytes whose order is the order of the strings they were made from.
pub fn sort_key(text: &str) -> Box<[u8]> {
    let mut key = Vec::with_capacity(text.len() * 3 + 8);
    if let Some(collator) = collator() {
        // Writing to a vector cannot fail.
        let _ = collator.write_sort_key_to(text, &mut key);
    }
    // Collation keys hold no zero byte before their end, so code points only break ties.
    key.push(0);
    key.extend_from_slice(text.as_bytes());
    key.into_boxed_slice()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_orders_like_the_comparison() {
        let words = [
            "",
            "10",
            "2",
            "a0",
            "Zz",
            "a",
            "A",
            "ä",
            "b",
            "e\u{301}",
            "é",
            "ab",
            "a b",
            "\u{1F600}",
        ];
        for a in words {
            for b in words {
                assert_eq!(sort_key(a).cmp(&sort_key(b)), compare(a, b), "{a:?} {b:?}");
            }
        }
        assert_eq!(compare("10", "2"), Ordering::Less);
        assert_eq!(compare("a0", "Zz"), Ordering::Less);
    }
}
