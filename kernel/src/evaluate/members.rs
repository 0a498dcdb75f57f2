//! What stands behind a dot: of fields those that a cell may use, and whether a field or a method is
//! asked about. The analyser takes all crates for the user's own, and offers their private fields first.

use std::time::{Duration, Instant};

use jupyter::Completions;

/// The crate in which evcxr analyses cells.
const OWN: &str = "ctx";

/// How long fields are looked at, each for some 80 ms; what was not looked at by then stays.
const PATIENCE: Duration = Duration::from_secs(1);

/// Drops fields that are private to another crate. `describe` gives what is known at the end of a piece
/// of code.
pub fn drop_private(
    code: &str,
    found: &mut Completions,
    mut describe: impl FnMut(&str) -> Option<String>,
) {
    let Some(receiver) = code.get(..found.start) else {
        return;
    };
    if !receiver.trim_end().ends_with('.') {
        return;
    }
    let deadline = Instant::now() + PATIENCE;
    found.matches.retain(|item| {
        let is_field = item.kind.as_deref() == Some("instance") && !item.text.contains('(');
        if !is_field || Instant::now() >= deadline {
            return true;
        }
        let described = describe(&format!("{receiver}{}", item.text));
        described.is_none_or(|described| is_usable(&described))
    });
}

/// Whether a field is the notebook's own or public. It is described by the path of its type, and below
/// that by its definition.
fn is_usable(described: &str) -> bool {
    let mut parts = described.split("\n\n");
    let (Some(path), Some(definition)) = (parts.next(), parts.next()) else {
        return true;
    };
    let krate = path.trim().split("::").next();
    krate == Some(OWN) || definition.trim_start().starts_with("pub ")
}

/// The end of the name at the cursor, the bracket of its call included: by that evcxr tells a method
/// from a field of the same name.
pub fn end_of_name(code: &str, cursor: usize) -> usize {
    let rest = &code[cursor..];
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let end = cursor + rest.find(|c| !is_part(c)).unwrap_or(rest.len());
    // In front of a bracket without a name there is nothing that is called.
    let is_name = code[..end].ends_with(is_part);
    end + usize::from(is_name && code[end..].starts_with('('))
}

#[cfg(test)]
mod tests {
    use jupyter::Completion;

    use super::*;

    fn kept(code: &str, names: &[(&str, &str)], described: &[(&str, &str)]) -> Vec<String> {
        let matches = names.iter().map(|(kind, name)| Completion {
            text: (*name).to_owned(),
            kind: Some((*kind).to_owned()),
            signature: None,
        });
        let mut found = Completions {
            matches: matches.collect(),
            start: code.rfind('.').map_or(0, |dot| dot + 1),
            end: code.len(),
        };
        drop_private(code, &mut found, |asked| {
            let known = described.iter().find(|(code, _)| *code == asked);
            known.map(|(_, text)| (*text).to_owned())
        });
        found.matches.into_iter().map(|one| one.text).collect()
    }

    /// `words.` was completed to `buf` and `len`, which no cell can use.
    #[test]
    fn fields_of_other_crates_are_offered_where_they_are_public() {
        let names = [
            ("instance", "len"),
            ("instance", "start"),
            ("instance", "inner"),
            ("instance", "unknown"),
            ("function", "len()"),
        ];
        let described = [
            ("x.len", "alloc::vec::Vec\n\nlen: usize\n"),
            (
                "x.start",
                "core::ops::range::Range\n\npub start: Idx\n\n\nIdx = i32",
            ),
            ("x.inner", "ctx::P\n\ninner: u8"),
        ];
        assert_eq!(
            kept("x.l", &names, &described),
            ["start", "inner", "unknown", "len()"]
        );
        assert_eq!(kept("x", &[("instance", "xs")], &[]), ["xs"]);
    }

    #[test]
    fn a_part_of_the_crate_is_not_public() {
        assert!(!is_usable("alloc::vec::Vec\n\npub(crate) buf: RawVec<T>"));
        assert!(is_usable("No documentation found"));
    }

    /// Shift-Tab in `words.len(` showed the private field `len: usize`.
    #[test]
    fn a_call_is_asked_about_with_its_bracket() {
        let asked = |code: &str| {
            let cursor = code.find('|').expect("a cursor");
            let code = code.replacen('|', "", 1);
            code[..end_of_name(&code, cursor)].to_owned()
        };
        assert_eq!(asked("words.le|n()"), "words.len(");
        assert_eq!(asked("words.len|(1)"), "words.len(");
        assert_eq!(asked("words.l|en;"), "words.len");
        assert_eq!(asked("f(g|, 1)"), "f(g");
        assert_eq!(asked("1 + |(2)"), "1 + ");
        assert_eq!(asked("wor|ds"), "words");
    }
}
