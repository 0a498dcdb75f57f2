//! The patterns of a history search: `*`, `?` and `[a-z]`, as in `SQLite`'s GLOB, which `IPython`'s
//! history has made the expected meaning.

/// Whether all of `text` matches `pattern`.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    // After the last `*`: where to go on in the pattern, and how much of the text it has taken.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&'*') {
            p += 1;
            retry = Some((p, t));
        } else if let Some(next) = one(&pattern, p, text[t]) {
            (p, t) = (next, t + 1);
        } else if let Some((after_star, taken)) = retry {
            (p, t) = (after_star, taken + 1);
            retry = Some((after_star, t));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// Where the pattern goes on if its element at `at` takes `c`.
fn one(pattern: &[char], at: usize, c: char) -> Option<usize> {
    match pattern.get(at)? {
        '?' => Some(at + 1),
        '[' => match set(&pattern[at + 1..], c) {
            Some((taken, length)) => taken.then_some(at + 1 + length),
            None => (c == '[').then_some(at + 1),
        },
        literal => (*literal == c).then_some(at + 1),
    }
}

/// Whether the set that starts after a `[` takes `c`, and its length with the `]`; `None` if it is
/// never closed.
fn set(pattern: &[char], c: char) -> Option<(bool, usize)> {
    let negated = pattern.first() == Some(&'^');
    let first = usize::from(negated);
    // A `]` that stands first is a member.
    let end = (first + 1..pattern.len()).find(|i| pattern[*i] == ']')?;
    let members = &pattern[first..end];
    let mut found = false;
    let mut i = 0;
    while i < members.len() {
        if members.get(i + 1) == Some(&'-') && i + 2 < members.len() {
            found |= (members[i]..=members[i + 2]).contains(&c);
            i += 3;
        } else {
            found |= members[i] == c;
            i += 1;
        }
    }
    Some((found != negated, end + 1))
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_as_in_sqlite() {
        for (pattern, text) in [
            ("*", ""),
            ("let*=*", "let a = 1"),
            ("*a?c*", "xxabcxx"),
            ("[a-c]1", "b1"),
            ("[^a-c]1", "d1"),
            ("[]]", "]"),
            ("v[1", "v[1"),
            ("*é", "café"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("", "a"),
            ("a", "ab"),
            ("*b", "abc"),
            ("[a-c]", "d"),
            ("?", ""),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }
}
