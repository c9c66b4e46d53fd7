//! Patterns of `$like` and `$ilike`.

use super::form::Case;

/// A compiled pattern: `%` stands for any run of characters, `_` for exactly one, a backslash takes
/// the next character literally. Anchored at both ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    case: Case,
    parts: Vec<Part>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Run,
    One,
    Exactly(char),
}

/// Simple folding: one character to one character.
fn fold(c: char) -> char {
    let mut lower = c.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(one), None) => one,
        _ => c,
    }
}

impl Pattern {
    pub(super) fn new(text: &str, case: Case) -> Self {
        let mut parts = Vec::with_capacity(text.len());
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            parts.push(match c {
                // Runs of runs would only cost time.
                '%' if parts.last() == Some(&Part::Run) => continue,
                '%' => Part::Run,
                '_' => Part::One,
                '\\' => Part::Exactly(chars.next().unwrap_or('\\')),
                c => Part::Exactly(c),
            });
        }
        if case == Case::Folded {
            for part in &mut parts {
                if let Part::Exactly(c) = part {
                    *c = fold(*c);
                }
            }
        }
        Self { case, parts }
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        let (mut part, mut rest) = (0, text);
        // Where to go on when what follows the latest run did not fit: one character further.
        let mut retry: Option<(usize, &str)> = None;
        loop {
            let next = rest.chars().next();
            let fits = match (self.parts.get(part), next) {
                (Some(Part::Run), _) => {
                    part += 1;
                    retry = Some((part, rest));
                    continue;
                }
                (None, None) => return true,
                (Some(Part::One), Some(_)) => true,
                (Some(Part::Exactly(wanted)), Some(c)) => match self.case {
                    Case::Sensitive => *wanted == c,
                    Case::Folded => *wanted == fold(c),
                },
                _ => false,
            };
            if fits {
                part += 1;
                rest = &rest[next.map_or(0, char::len_utf8)..];
                continue;
            }
            let Some((after_run, from)) = retry else { return false };
            let Some(skipped) = from.chars().next() else { return false };
            let from = &from[skipped.len_utf8()..];
            retry = Some((after_run, from));
            (part, rest) = (after_run, from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn like(pattern: &str, text: &str) -> bool {
        Pattern::new(pattern, Case::Sensitive).matches(text)
    }

    #[test]
    fn wildcards_and_escapes() {
        assert!(like("%", "") && like("%", "a\nb"));
        assert!(like("a%c%e", "abcde") && like("%ab%ab", "ababab") && !like("a%c", "abcd"));
        assert!(like("_", "🙂") && !like("_", "") && !like("__", "🙂"));
        assert!(like("a\\_b", "a_b") && !like("a\\_b", "axb") && like("\\\\", "\\"));
        assert!(!like("ABC", "abc"));
        assert!(Pattern::new("äB%", Case::Folded).matches("ÄbC"));
        assert!(!Pattern::new("e", Case::Folded).matches("é"));
    }
}
