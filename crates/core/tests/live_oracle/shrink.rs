//! Makes a failing case small.

use serde_json::Value as Json;

use super::cases::Case;
use super::check::check;

/// Runs at most.
const TRIALS_MAX: usize = 4_000;

/// The smallest case found that still fails, and how it does.
pub(crate) fn shrink(case: &Case, failure: String) -> (Case, String) {
    let (mut best, mut failure) = (case.to_json(), failure);
    let mut trials = 0;
    loop {
        let mut smaller = None;
        let mut paths = Vec::new();
        places(&best, &mut Vec::new(), &mut paths);
        for path in paths {
            trials += 1;
            let candidate = without(&best, &path);
            if let Some(Err(error)) = Case::from_json(&candidate).map(|case| check(&case)) {
                smaller = Some((candidate, error));
                break;
            }
            if trials > TRIALS_MAX {
                break;
            }
        }
        match smaller {
            Some((json, error)) if trials <= TRIALS_MAX => (best, failure) = (json, error),
            _ => break,
        }
    }
    (Case::from_json(&best).unwrap_or_else(|| case.clone()), failure)
}

#[derive(Clone)]
enum Part {
    Key(String),
    At(usize),
}

/// Every member of every list and object, outer ones first.
fn places(json: &Json, path: &mut Vec<Part>, paths: &mut Vec<Vec<Part>>) {
    let mut inner: Vec<(Part, &Json)> = Vec::new();
    match json {
        Json::Array(items) => {
            inner.extend(items.iter().enumerate().map(|(at, item)| (Part::At(at), item)));
        }
        Json::Object(map) => {
            inner.extend(map.iter().map(|(key, item)| (Part::Key(key.clone()), item)));
        }
        _ => {}
    }
    // An attribute or a step is whole or not there.
    let is_whole = path.len() == 2 && matches!(&path[0], Part::Key(key) if key == "attrs")
        || path.len() == 3
            && matches!(&path[0], Part::Key(key) if key == "commits" || key == "before");
    if is_whole {
        return;
    }
    if !path.is_empty() {
        for (part, _) in inner.iter().rev() {
            let mut whole = path.clone();
            whole.push(part.clone());
            paths.push(whole);
        }
    }
    for (part, item) in inner {
        path.push(part);
        places(item, path, paths);
        path.pop();
    }
}

fn without(json: &Json, path: &[Part]) -> Json {
    let [part, rest @ ..] = path else { return json.clone() };
    match (json, part) {
        (Json::Array(items), Part::At(at)) => {
            let mut items = items.clone();
            if rest.is_empty() {
                items.remove(*at);
            } else {
                items[*at] = without(&items[*at], rest);
            }
            items.into()
        }
        (Json::Object(map), Part::Key(key)) => {
            let mut map = map.clone();
            if rest.is_empty() {
                map.remove(key);
            } else if let Some(item) = map.get_mut(key) {
                *item = without(item, rest);
            }
            map.into()
        }
        _ => json.clone(),
    }
}
