//! Sentences about names in a repository: which exist, and which come close to one that does not.

use wire::{Failure, FailureKind};

/// Names shown before "and N more".
const SHOWN: usize = 8;

/// Names in back quotes, the first few of many.
pub(super) fn shown_names(names: &[String]) -> String {
    let quoted: Vec<String> = names
        .iter()
        .take(SHOWN)
        .map(|name| format!("`{name}`"))
        .collect();
    let mut text = quoted.join(", ");
    if names.len() > SHOWN {
        let more = names.len() - SHOWN;
        text = format!("{text} and {more} more");
    }
    text
}

/// A file that a repository or folder does not have, with the names that come closest.
pub(super) fn missing_file(repo: &str, file: &str, names: &[String]) -> Failure {
    let failure = Failure::new(
        FailureKind::NotFound,
        format!("`{repo}` has no file `{file}`"),
    );
    let close = closest(file, names);
    if close.is_empty() {
        failure.hint(format!("its files: {}", shown_names(names)))
    } else {
        failure.hint(format!("close to it: {}", shown_names(&close)))
    }
}

/// Names of the same extension, the most similar first.
fn closest(wanted: &str, names: &[String]) -> Vec<String> {
    let extension = |name: &str| name.rsplit_once('.').map(|(_, end)| end.to_lowercase());
    let mut close: Vec<(usize, &String)> = names
        .iter()
        .filter(|name| extension(name) == extension(wanted))
        .map(|name| (distance(wanted, name), name))
        .collect();
    close.sort();
    close
        .into_iter()
        .take(3)
        .map(|(_, name)| name.clone())
        .collect()
}

/// Levenshtein distance, letter case ignored.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.to_lowercase().chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
